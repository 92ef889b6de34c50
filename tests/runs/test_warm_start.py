"""A training that continues from yesterday's run, on today's data."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_npa.config import NPAConfig
from tfrs_npa.datasets.mind import SyntheticWorld, write_behaviors, write_news
from tfrs_npa.runs.run import Run
from tfrs_npa.runs.train import resume, train
from tfrs_npa.settings import TrainingSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("eager_functions", "same_picture"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]

CONFIG = NPAConfig(
    word_embedding_dim=4,
    user_embedding_dim=3,
    num_filters=5,
    attention_dim=3,
    history_length=5,
    background_titles=8,
    seed=1,
)


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Folders of three days, each with its own news."""
    path = tmp_path_factory.mktemp("days")
    world = SyntheticWorld(users=90, articles=400, impressions=(120, 1, 1))
    rows = sorted(world.behaviors("train"), key=lambda row: row["time"])
    news = {article["news_id"]: article for article in world.news("train")}
    for day in range(3):
        for name, some in (("train", rows[40 * day :][:30]), ("dev", rows[40 * day + 30 :][:10])):
            ids = {id for row in some for id in [*row["history"], *row["candidates"]["news_id"]]}
            write_news(path / str(day) / name / "news.tsv", map(news.get, sorted(ids)))
            write_behaviors(path / str(day) / name / "behaviors.tsv", iter(some))
    return path


def settings_of(day, **changes):
    return TrainingSettings(str(day), holdout="none", **{"epochs": 1} | changes)


@pytest.fixture(scope="module")
def chain(days, tmp_path_factory):
    """Three runs, each from the one before; the last one drops what the one before has not seen."""
    path = tmp_path_factory.mktemp("runs")
    train(path / "0", settings_of(days / "0"), CONFIG)
    train(path / "1", settings_of(days / "1"), CONFIG, start_from=path / "0")
    train(path / "2", settings_of(days / "2"), CONFIG, start_from=path / "1", drop_unseen=1)
    return [Run(path / name) for name in "012"]


def strings_of(run):
    model = run.load_model()
    return model.catalog.vocabulary.words, model.catalog.ids, model.users.ids


def test_what_is_new_comes_after_what_was_there(chain):
    for old, new in zip(strings_of(chain[0]), strings_of(chain[1]), strict=True):
        assert new[: len(old)] == old and len(new) > len(old)


def test_it_says_what_it_took_over(chain):
    origin, old, new = chain[1].warm_start, strings_of(chain[0]), strings_of(chain[1])
    assert origin["from"] == str(chain[0].path)
    assert list(origin["added"].values()) == [len(b) - len(a) for a, b in zip(old, new)]
    assert set(origin["dropped"].values()) == {0}
    assert chain[0].warm_start is None


def test_what_yesterday_did_not_see_is_dropped(chain):
    oldest, old, new = map(strings_of, chain)
    dropped = list(chain[2].warm_start["dropped"].values())
    for a, b, c, number in zip(oldest, old, new, dropped, strict=True):
        gone = set(b) - set(c)
        assert gone < set(a) and len(gone) == number > 0
    last_seen = chain[2].last_seen(chain[2].load_model())
    assert last_seen.training == 3 and last_seen.words[2:].min() >= 2


def test_the_model_before_the_first_step_is_that_of_yesterday(days, chain, tmp_path):
    """Without words and users of its own, today's model is yesterday's."""
    train(tmp_path / "again", settings_of(days / "0"), CONFIG, start_from=chain[0].path)
    run = Run(tmp_path / "again")
    assert set(run.warm_start["added"].values()) == {0}
    before, first_step = chain[0].load_model(with_optimizer=True), run.warm_start["first_step"]
    assert before.optimizer.iterations == first_step
    after = run.load_model(with_optimizer=True)
    assert after.optimizer.iterations == 2 * first_step
    assert not np.array_equal(before.get_weights()[0], after.get_weights()[0])


def test_users_in_buckets(days, tmp_path):
    """A chain like the one above, in which nearly every user has a bucket alone."""
    buckets = 4000
    first, second, third = (tmp_path / name for name in "012")
    train(first, settings_of(days / "0", user_buckets=buckets), CONFIG)
    with pytest.raises(ValueError, match="user_buckets is None, but 4000 in the run to start from"):
        train(second, settings_of(days / "1"), CONFIG, start_from=first)
    train(second, settings_of(days / "1", user_buckets=buckets), CONFIG, start_from=first)
    resume(second)
    one, two = Run(first), Run(second)
    assert (first / "users.npz").exists() and not (first / "users.txt").exists()
    added, dropped = two.warm_start["added"]["users"], two.warm_start["dropped"]["users"]
    counts = [np.count_nonzero(run.users.known) for run in (one, two)]
    assert counts[0] > 0 and added == counts[1] - counts[0] > 0 and dropped == 0
    assert len(two.load_model().users) == buckets + 1
    later = settings_of(days / "2", user_buckets=buckets)
    train(third, later, CONFIG, start_from=second, drop_unseen=1)
    gone = two.users.known & ~Run(third).users.known
    assert np.count_nonzero(gone) == Run(third).warm_start["dropped"]["users"] > 0
    assert not (gone & ~one.users.known).any()  # the second day saw those who are new there


def test_an_interrupted_training_resumes(days, chain, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tfrs_npa.runs.train._train", interrupted)
        train(tmp_path / "run", settings_of(days / "1"), CONFIG, start_from=chain[0].path)
    resume(tmp_path / "run")
    expected, found = chain[1].load_model("last"), Run(tmp_path / "run").load_model("last")
    for old, new in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_run_of_an_earlier_version(chain):
    run = chain[1]
    model, path = run.load_model(), run.path / "last_seen.npz"
    content, checksums = path.read_bytes(), run.path / "checksums.json"
    path.unlink()
    with pytest.raises(ValueError, match="last_seen.npz is missing"):
        run.last_seen(model)
    checksums.rename(run.path / "none.json")
    seen = run.last_seen(model)
    assert seen.training == 1 and all(map(np.all, seen.recent(1).values()))
    path.write_bytes(content[:50])
    with pytest.raises(ValueError, match="last_seen.npz is damaged"):
        run.last_seen(model)
    path.write_bytes(content)
    (run.path / "none.json").rename(checksums)


def test_other_shapes(days, chain, tmp_path):
    with pytest.raises(ValueError, match="shapes of layers"):
        train(
            tmp_path / "run",
            settings_of(days / "1"),
            CONFIG.replace(num_filters=6),
            start_from=chain[0].path,
        )
    assert not (tmp_path / "run").exists()
