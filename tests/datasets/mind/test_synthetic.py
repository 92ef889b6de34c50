"""The synthetic world as a whole, next to what is published of MIND."""

import collections
import dataclasses
import json

import numpy as np
import pytest

from tfrs_npa.datasets.mind import (
    SyntheticWorld,
    WorldKnobs,
    read_behaviors,
    read_news,
    synthetic,
)

# Statistics of MIND, collected from public sources; its files were not counted here. Candidates and
# impressions are those that `published.py` expects of the files as well.
MIND_CANDIDATES = {
    "small train": (5_843_444, 156_965),
    "small dev": (2_740_998, 73_152),
    "large train": (83_507_374, 2_232_748),
}
MIND_CANDIDATES_RANGE = (2, 300)
MIND_CLICK_RATE = 0.04
MIND_TITLE_WORDS = 11
MIND_TITLE_RANGE = (3, 30)  # of nearly all titles
MIND_EMPTY_HISTORIES = (0.01, 0.03)

SIZES = {"users": 100, "articles": 400, "impressions": (60, 20, 20)}


@dataclasses.dataclass
class Split:
    """What a split holds: its articles by id, and its impressions."""

    news: dict
    behaviors: list

    @property
    def titles(self):
        return [article["title"].lower().split() for article in self.news.values()]

    @property
    def candidates(self):
        return [row["candidates"]["news_id"] for row in self.behaviors]

    @property
    def shown_or_clicked(self):
        return {
            news_id
            for row in self.behaviors
            for news_id in [*row["candidates"]["news_id"], *row["history"]]
        }


@pytest.fixture(scope="module")
def world():
    return SyntheticWorld()


@pytest.fixture(scope="module")
def splits(world):
    return {
        split: Split(
            {article["news_id"]: article for article in world.news(split)},
            list(world.behaviors(split)),
        )
        for split in synthetic.SPLITS
    }


@pytest.fixture(scope="module", params=synthetic.SPLITS)
def split(request, splits):
    return splits[request.param]


def rows_of(world):
    """Everything that a world yields."""
    return [
        [*world.news(split), *({**row, "candidates": str(row["candidates"])} for row in behaviors)]
        for split in synthetic.SPLITS
        for behaviors in [world.behaviors(split)]
    ]


# Next to MIND.


@pytest.mark.parametrize("name", MIND_CANDIDATES)
def test_candidates(split, name):
    candidates, impressions = MIND_CANDIDATES[name]
    lengths = [len(row) for row in split.candidates]
    assert np.mean(lengths) == pytest.approx(candidates / impressions, rel=0.06)
    assert (min(lengths), max(lengths)) == MIND_CANDIDATES_RANGE
    assert all(len(row) == len(set(row)) for row in split.candidates)


def test_clicks(split):
    clicks = np.array([row["candidates"]["clicked"].sum() for row in split.behaviors])
    shown = sum(map(len, split.candidates))
    assert clicks.sum() / shown == pytest.approx(MIND_CLICK_RATE, abs=0.005)
    assert clicks.min() == 1
    assert np.mean(clicks == 1) > 0.5  # most impressions have one click
    assert np.mean(clicks <= 3) > 0.97
    lengths = np.array([len(row) for row in split.candidates])
    assert (clicks < lengths).all()


def test_title_lengths(split):
    lengths = [len(title) for title in split.titles]
    assert np.mean(lengths) == pytest.approx(MIND_TITLE_WORDS, abs=0.5)
    assert MIND_TITLE_RANGE[0] <= min(lengths) and max(lengths) <= MIND_TITLE_RANGE[1]


def test_histories(split):
    lengths = np.array([len(row["history"]) for row in split.behaviors])
    least, most = MIND_EMPTY_HISTORIES
    assert least < np.mean(lengths == 0) < most + 0.01
    # Short ones are common, and some are long.
    assert np.mean(lengths <= 5) > 0.15 and 10 < np.median(lengths) < 20 and lengths.max() > 150


def test_words(world, splits):
    titles = {news_id: row for part in splits.values() for news_id, row in part.news.items()}
    words = collections.Counter(
        word for row in titles.values() for word in row["title"].lower().split()
    )
    assert 15_000 < len(words) < 20_000
    counts = np.sort(list(words.values()))[::-1]
    # Zipf's law: in English, the frequency of a word falls with its rank to the power of about -1.
    slope, _ = np.polyfit(np.log(np.arange(5, 5000)), np.log(counts[5:5000]), 1)
    assert -1.2 < slope < -0.8
    assert np.median(counts) < 15 and np.mean(counts == 1) > 0.05
    function_words = set(world._language.words[: world.knobs.function_words])
    share = sum(words[word] for word in function_words) / counts.sum()
    assert share == pytest.approx(world.knobs.function_share, abs=0.03)


def test_some_words_appear_only_after_training(splits):
    known = {word for title in splits["train"].titles for word in title}
    for name in ("validation", "test"):
        later = splits[name].shown_or_clicked - splits["train"].shown_or_clicked
        titles = [splits[name].news[news_id]["title"].lower().split() for news_id in later]
        assert 0.002 < np.mean([word not in known for title in titles for word in title]) < 0.05


@pytest.mark.parametrize("name", ["validation", "test"])
def test_most_candidates_are_new_after_training(splits, name):
    seen = splits["train"].shown_or_clicked
    new = [news_id not in seen for row in splits[name].candidates for news_id in row]
    assert np.mean(new) == pytest.approx(0.6, abs=0.02)


def test_categories(splits):
    news = splits["train"].news.values()
    assert len({article["category"] for article in news}) == 17
    parents = collections.defaultdict(set)
    for article in news:
        parents[article["subcategory"]].add(article["category"])
    assert 240 <= len(parents) <= 260
    assert all(len(categories) == 1 for categories in parents.values())


def test_articles_are_those_of_the_impressions(split):
    assert split.news.keys() == split.shown_or_clicked
    assert all(article["title"][0].isupper() for article in split.news.values())


@pytest.mark.slow
def test_optima(world):
    for split in ("validation", "test"):
        auc = world.reference_auc()[split]
        assert 0.78 < auc["true_preferences"]["all"] < 0.84
        assert 0.70 < auc["history_only"]["all"] < 0.77


# The family.


@pytest.mark.slow
def test_readers_click_words_that_they_prefer(world):
    topics = world.topic_words()
    titles = {row["news_id"]: row["title"].lower().split() for row in world.news("train")}
    clicked, shown = [], []
    for row in world.behaviors("train"):
        preferred = world.preferred_words(row["user_id"])
        assert preferred and preferred <= topics
        candidates = row["candidates"]
        for news_id, label in zip(candidates["news_id"], candidates["clicked"]):
            found = len(preferred.intersection(titles[news_id]))
            (clicked if label else shown).append(found)
    assert np.mean(clicked) > 1.5 * np.mean(shown)
    with pytest.raises(KeyError):
        world.preferred_words("nobody")


def test_same_arguments_give_the_same_world():
    first, second = (SyntheticWorld(seed=3, **SIZES) for _ in range(2))
    assert rows_of(first) == rows_of(second)
    assert first.reference_auc() == second.reference_auc()
    # In any order, and more than once.
    assert list(first.news("test")) == list(second.news("test"))


def test_seeds_give_other_worlds():
    first, second = (SyntheticWorld(seed=seed, **SIZES) for seed in (0, 1))
    titles, others = ({row["title"] for row in w.news("train")} for w in (first, second))
    assert not titles & others


def test_knobs_of_users_leave_articles_alone():
    first, second = (
        SyntheticWorld(WorldKnobs(**knobs), **SIZES)
        for knobs in ({}, {"strength": 3.0, "subjects_of_user": 2, "empty_history": 0.2})
    )
    titles, others = (
        {row["news_id"]: row["title"] for split in synthetic.SPLITS for row in w.news(split)}
        for w in (first, second)
    )
    shared = titles.keys() & others.keys()
    assert len(shared) > 50 and all(titles[news_id] == others[news_id] for news_id in shared)
    assert rows_of(first) != rows_of(second)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"users": 3}, "users is 3; expected at least 10"),
        ({"articles": 0}, "articles is 0; expected at least 20"),
        ({"impressions": (0, 10, 10)}, "impressions of train is 0; expected at least 1"),
        ({"impressions": (10, 10, -1)}, "impressions of test is -1; expected at least 0"),
    ],
)
def test_sizes_are_checked(sizes, message):
    with pytest.raises(ValueError, match=message):
        SyntheticWorld(**SIZES | sizes)


@pytest.mark.parametrize("seed", range(3))
def test_tiny_worlds(seed):
    world = SyntheticWorld(seed=seed, users=10, articles=20, impressions=(3, 2, 2))
    for split, number in zip(synthetic.SPLITS, (3, 2, 2)):
        rows = list(world.behaviors(split))
        assert len(rows) == number
        assert all(0 < row["candidates"]["clicked"].mean() < 1 for row in rows)


def test_a_split_can_be_empty():
    world = SyntheticWorld(**SIZES | {"impressions": (60, 20, 0)})
    assert not list(world.behaviors("test")) and not list(world.news("test"))
    assert world.reference_auc().keys() == {"validation"}
    full = SyntheticWorld(**SIZES)
    assert list(world.news("validation")) == list(full.news("validation"))


# The folder.


def test_write(tmp_path):
    world = SyntheticWorld(WorldKnobs(drift=0.3), seed=2, **SIZES)
    world.write(tmp_path / "world", word_vector_dim=8)
    for split, name in zip(synthetic.SPLITS, ("train", "valid", "test")):
        assert list(read_news(tmp_path / "world" / name / "news.tsv")) == list(world.news(split))
        rows = read_behaviors(tmp_path / "world" / name / "behaviors.tsv")
        assert [str(row) for row in rows] == [
            str({**row, "candidates": {**row["candidates"], "clicked": clicked}})
            for row in world.behaviors(split)
            for clicked in [row["candidates"]["clicked"].tolist()]
        ]
    told = json.loads((tmp_path / "world/world.json").read_text())
    assert told["reference_auc"] == world.reference_auc()
    again = SyntheticWorld(
        WorldKnobs(**told["knobs"]), **{name: told[name] for name in ("seed", *SIZES)}
    )
    assert again.knobs == world.knobs and rows_of(again) == rows_of(world)
    lines = (tmp_path / "world/word_vectors.txt").read_text("utf-8").splitlines()
    words, vectors = world.word_vectors(8)
    assert [line.split(" ")[0] for line in lines] == words
    np.testing.assert_allclose(
        [[float(value) for value in line.split(" ")[1:]] for line in lines], vectors, atol=1e-5
    )


def test_write_replaces_nothing(tmp_path):
    world = SyntheticWorld(**SIZES)
    (tmp_path / "world").mkdir()
    world.write(tmp_path / "world")
    assert not (tmp_path / "world/word_vectors.txt").exists()
    with pytest.raises(FileExistsError, match="world exists; remove it or give another name"):
        world.write(tmp_path / "world")


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    with pytest.raises(ValueError, match="dim is 0"):
        SyntheticWorld(**SIZES).write(tmp_path / "world", word_vector_dim=0)
    assert not list(tmp_path.iterdir())
