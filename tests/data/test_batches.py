import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.data.batches import impression_batches, row_batches, training_batches
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.sampling import TrainingRows
from tfrs_npa.data.users import UserIndex

ARTICLES = [f"N{i}" for i in range(60)]
CATALOG = NewsCatalog().adapt({"news_id": ARTICLES, "title": ARTICLES})
USERS = UserIndex().adapt({"user_id": [f"U{i}" for i in range(9)]})


def config(**changes):
    fields = {
        "history_length": 4,
        "history_sampling": "last",
        "history_rows": 0,
        "negatives_per_positive": 3,
        "batch_size": 4,
        "seed": 5,
        "unknown_articles": "left_out",
        "mask_padding": True,
    }
    return SimpleNamespace(**fields | changes)


def make_behaviors(labelled=True):
    """22 impressions: histories of 0 to 6 articles, 3 to 11 candidates, 1 or 2 of them clicked."""
    generator = np.random.default_rng(0)
    histories, news_ids, labels = [], [], []
    for i in range(22):
        histories.append(generator.choice(ARTICLES, i % 7).tolist())
        news_ids.append(generator.choice(ARTICLES, 3 + i % 9, replace=False).tolist())
        labels.append([1] * (1 + i % 2) + [0] * (2 + i % 9 - i % 2))
    if not labelled:
        labels = [[-1] * len(values) for values in labels]
    return tf.data.Dataset.from_tensor_slices(
        {
            "impression_id": np.arange(1000, 1022),
            "user_id": [f"U{i % 12}" for i in range(22)],
            "time": np.arange(22) * 60,
            "history": tf.ragged.constant(histories, tf.string),
            "candidates": {
                "news_id": tf.ragged.constant(news_ids, tf.string),
                "clicked": tf.ragged.constant(labels, tf.int64),
            },
        }
    )


BEHAVIORS = make_behaviors()
IMPRESSIONS = Impressions.from_dataset(BEHAVIORS, CATALOG, USERS, ["time"])


def train(behaviors=IMPRESSIONS, initial_epoch=0, features=(), **changes):
    return training_batches(
        behaviors,
        CATALOG,
        USERS,
        config(**changes),
        features=features,
        initial_epoch=initial_epoch,
    )


def evaluate(behaviors=IMPRESSIONS, features=(), batch_size=None, **changes):
    return impression_batches(
        behaviors, CATALOG, USERS, config(**changes), features=features, batch_size=batch_size
    )


def one_pass(batches):
    """A whole pass, comparable with ==."""
    return [
        {name: array.tolist() for name, array in batch.items()}
        for batch in batches.as_numpy_iterator()
    ]


def test_training_batches():
    batches = train(features=["time"])
    assert len(batches) == 9  # 33 clicks in batches of 4
    collected = list(batches.as_numpy_iterator())
    assert [len(batch["user_id"]) for batch in collected] == [4] * 8 + [1]
    for batch in collected:
        assert sorted(batch) == [
            "candidates",
            "clicked",
            "history",
            "impression_id",
            "time",
            "user_id",
        ]
        assert batch["impression_id"].dtype == np.int64
        for name in ("user_id", "history", "candidates", "clicked"):
            assert batch[name].dtype == np.int32
        rows = batch["impression_id"] - 1000
        assert batch["candidates"].shape == batch["clicked"].shape == (len(rows), 4)
        assert batch["user_id"].tolist() == [(row % 12 + 1) * (row % 12 < 9) for row in rows]
        assert batch["time"].tolist() == (rows * 60).tolist()
        lengths = np.minimum(rows % 7, 4)
        assert batch["history"].shape == (len(rows), max(1, lengths.max()))
        assert np.count_nonzero(batch["history"], axis=1).tolist() == lengths.tolist()
    seen = np.concatenate([batch["impression_id"] for batch in collected])
    expected = np.repeat(np.arange(1000, 1022), [1, 2] * 11)
    np.testing.assert_array_equal(np.sort(seen), expected)
    assert seen.tolist() != expected.tolist()


def test_a_dataset_and_its_impressions_give_the_same_batches():
    assert one_pass(train(BEHAVIORS, features=["time"])) == one_pass(train(features=["time"]))
    assert one_pass(evaluate(BEHAVIORS)) == one_pass(evaluate())


def test_each_pass_is_the_next_epoch():
    batches = train(history_sampling="random")
    passes = [one_pass(batches) for _ in range(4)]
    for epoch in range(4):
        fresh = train(history_sampling="random", initial_epoch=epoch)
        assert one_pass(fresh) == passes[epoch]
        assert one_pass(fresh) == one_pass(
            train(history_sampling="random", initial_epoch=epoch + 1)
        )
    assert passes[0] != passes[1] != passes[2] != passes[3]


def test_repeat_gives_the_next_epochs():
    repeated = train(history_sampling="random", initial_epoch=1).repeat(3)
    expected = [
        batch
        for epoch in (1, 2, 3)
        for batch in one_pass(train(history_sampling="random", initial_epoch=epoch))
    ]
    assert one_pass(repeated) == expected


def rows_by_click(batches):
    """For each impression and click, the sorted negatives and the history of one pass."""
    return {
        (impression, candidates[0]): (sorted(candidates[1:]), history)
        for batch in one_pass(batches)
        for impression, candidates, history in zip(
            batch["impression_id"], batch["candidates"], batch["history"], strict=True
        )
    }


def test_negatives_and_random_histories_are_fresh_each_epoch():
    batches = train(history_sampling="random", mask_padding=False)
    first, second = rows_by_click(batches), rows_by_click(batches)
    assert first.keys() == second.keys()
    assert sum(first[key][0] != second[key][0] for key in first) > 10
    assert sum(first[key][1] != second[key][1] for key in first) > 3


def test_one_row_alone_gets_other_negatives_each_epoch():
    batches = train(IMPRESSIONS.take([8]))  # 1 click, 10 others, so 120 draws of 3
    drawn = {tuple(sorted(one_pass(batches)[0]["candidates"][0])) for _ in range(8)}
    assert len(drawn) > 4


def test_last_histories_are_the_same_each_epoch():
    batches = train(mask_padding=False)
    first, second = rows_by_click(batches), rows_by_click(batches)
    assert {key: row[1] for key, row in first.items()} == {k: row[1] for k, row in second.items()}


def test_the_seed_decides():
    assert one_pass(train(seed=1)) == one_pass(train(seed=1))
    assert one_pass(train(seed=1)) != one_pass(train(seed=2))


def test_batch_size_does_not_change_the_order_of_rows():
    def order(**changes):
        return [row for batch in one_pass(train(**changes)) for row in batch["impression_id"]]

    assert order(batch_size=4) == order(batch_size=7)


def test_an_iterator_that_is_never_read_is_no_pass():
    batches = train()
    iter(batches)
    iter(batches)
    assert one_pass(batches) == one_pass(train())


class Recorder(tf.keras.Model):
    """Learns nothing and remembers the batches it was given."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def train_step(self, batch):
        self.batches.append({name: tensor.numpy().tolist() for name, tensor in batch.items()})
        return {"loss": 0.0}

    def test_step(self, batch):
        return {"loss": 0.0}


def fit(batches, epochs, **arguments):
    model = Recorder()
    model.compile(run_eagerly=True)
    model.fit(batches, epochs=epochs, verbose=0, **arguments)
    return model.batches


def test_fit_sees_one_pass_an_epoch():
    passes = train()
    expected = [batch for _ in range(3) for batch in one_pass(passes)]
    assert fit(train(), 3, validation_data=evaluate()) == expected


def test_fit_continued_sees_what_an_uninterrupted_one_sees():
    uninterrupted = fit(train(), 4)
    first = fit(train(), 3)
    assert first == uninterrupted[: 3 * 9]
    assert fit(train(initial_epoch=3), 4, initial_epoch=3) == uninterrupted[3 * 9 :]


def test_fit_with_steps_per_epoch_goes_on_where_it_stopped():
    passes = train()
    expected = [batch for _ in range(2) for batch in one_pass(passes)]
    assert fit(train().repeat(), 3, steps_per_epoch=6) == expected


def test_a_compiled_fit_counts_passes_too():
    class Sums(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.sums = tf.Variable(tf.zeros([0], tf.int32), shape=[None], trainable=False)

        def train_step(self, batch):
            # Weighted, so that the order of the rows shows.
            weights = tf.range(1, tf.size(batch["candidates"]) + 1)
            total = tf.reduce_sum(tf.reshape(batch["candidates"], [-1]) * weights)
            self.sums.assign(tf.concat([self.sums, [total]], axis=0))
            return {"loss": 0.0}

    model = Sums()
    model.compile()
    model.fit(train(), epochs=2, verbose=0)
    passes = train()
    expected = [
        int(np.dot(np.ravel(batch["candidates"]), np.arange(1, np.size(batch["candidates"]) + 1)))
        for _ in range(2)
        for batch in one_pass(passes)
    ]
    assert model.sums.numpy().tolist() == expected


def test_an_iterator_need_not_wait_for_a_tuning_thread():
    for batches in (train(), evaluate()):
        assert batches.options().autotune.enabled is False


def packed(batch):
    """The rows of a batch without padding, which may be of any width."""
    lists = {name for name in batch if np.ndim(batch[name]) == 2}
    columns = {
        name: [[value for value in row if value] for row in values] if name in lists else values
        for name, values in batch.items()
        if name != "clicked"
    }
    clicks = [
        [article for article, label in zip(*row, strict=True) if label == 1]
        for row in zip(batch["candidates"], batch["clicked"], strict=True)
    ]
    return list(zip(clicks, *(columns[name] for name in sorted(columns)), strict=True))


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    pipelines=st.integers(1, 3),
    replicas=st.integers(1, 2),
    batch_size=st.integers(1, 40),
    history_rows=st.integers(0, 3),
    sampling=st.sampled_from(["last", "random"]),
    training=st.booleans(),
)
def test_pipelines_divide_each_batch(
    pipelines, replicas, batch_size, history_rows, sampling, training
):
    changes = {"history_rows": history_rows, "history_sampling": sampling, "batch_size": batch_size}
    whole = train(**changes) if training else evaluate(**changes)
    # Data sets of their own, as in processes of their own.
    parts = [
        (train(**changes) if training else evaluate(**changes)).of_pipeline(
            tf.distribute.InputContext(pipelines, pipeline, pipelines * replicas)
        )
        for pipeline in range(pipelines)
    ]
    assert {len(part) for part in parts} == {len(whole) * replicas}
    for _ in range(2):
        passes = [one_pass(part) for part in parts]
        for step, batch in enumerate(one_pass(whole)):
            steps = [part[replicas * step + i] for part in passes for i in range(replicas)]
            sizes = [len(part["user_id"]) for part in steps]
            assert max(sizes) - min(sizes) <= 1
            assert [row for part in steps for row in packed(part)] == packed(batch)


def test_batches_from_a_step_on():
    """As a training that was interrupted in the middle of an epoch asks for them."""
    rows = TrainingRows(IMPRESSIONS, config(history_sampling="random"))
    whole, rest = row_batches(rows), row_batches(rows, first_step=5)
    assert len(rest) == len(whole) - 5
    for _ in range(2):
        assert one_pass(rest) == one_pass(whole)[5:]
    context = tf.distribute.InputContext(1, 0, 2)
    parts, others = (batches.of_pipeline(context) for batches in (whole, rest))
    assert len(others) == len(parts) - 10
    assert one_pass(others) == one_pass(parts)[10:]


def test_pipelines_of_other_numbers_of_replicas():
    with pytest.raises(ValueError, match="3 replicas cannot be divided evenly among 2 input pipe"):
        train().of_pipeline(tf.distribute.InputContext(2, 0, 3))


def test_static_shapes():
    spec = train().element_spec
    assert spec["candidates"].shape.as_list() == [None, 4]
    assert spec["history"].shape.as_list() == [None, None]
    assert train(mask_padding=False).element_spec["history"].shape.as_list() == [None, 4]
    assert evaluate().element_spec["candidates"].shape.as_list() == [None, None]


def test_impression_batches():
    batches = evaluate(features=["time"])
    assert len(batches) == 6
    row = 0
    for batch in batches.as_numpy_iterator():
        size = len(batch["impression_id"])
        lengths = [3 + i % 9 for i in range(row, row + size)]
        assert batch["impression_id"].tolist() == list(range(1000 + row, 1000 + row + size))
        assert batch["time"].tolist() == [60 * i for i in range(row, row + size)]
        assert batch["candidates"].shape == batch["clicked"].shape == (size, max(lengths))
        assert batch["clicked"].dtype == batch["candidates"].dtype == np.int32
        for i in range(size):
            part = slice(*IMPRESSIONS.candidate_splits[row : row + 2])
            padding = [0] * (max(lengths) - lengths[i])
            expected = IMPRESSIONS.candidate_values[part].tolist()
            assert batch["candidates"][i].tolist() == expected + padding
            assert batch["clicked"][i].tolist() == IMPRESSIONS.clicked[part].tolist() + padding
            part = slice(*IMPRESSIONS.history_splits[row : row + 2])
            history = batch["history"][i]
            assert history[history > 0].tolist() == IMPRESSIONS.history_values[part][-4:].tolist()
            row += 1
    assert row == 22


def test_impression_batches_always_take_the_last_clicks():
    assert one_pass(evaluate(history_sampling="random")) == one_pass(evaluate())


def test_every_pass_of_impression_batches_is_the_same():
    batches = evaluate()
    assert one_pass(batches) == one_pass(batches)


def test_impression_batches_of_another_size():
    batches = evaluate(batch_size=10)
    assert len(batches) == 3
    assert [len(batch["user_id"]) for batch in one_pass(batches)] == [10, 10, 2]


def test_histories_of_full_width_without_masking():
    for batches in (train(mask_padding=False), evaluate(mask_padding=False)):
        assert {len(row) for batch in one_pass(batches) for row in batch["history"]} == {4}


def test_unlabelled_impressions():
    unlabelled = make_behaviors(labelled=False)
    batch = one_pass(evaluate(unlabelled))[0]
    assert batch["clicked"][0][:4] == [-1, -1, -1, 0]
    with pytest.raises(ValueError, match="no training rows in 22 impressions: 22 have no click"):
        train(unlabelled)


def test_an_impression_without_candidates_keeps_its_place():
    empty = IMPRESSIONS.take(np.array([0]))
    empty = Impressions(
        empty.impression_id,
        empty.user_id,
        empty.history_values,
        empty.history_splits,
        empty.candidate_values[:0],
        np.zeros(2, np.int64),
        empty.clicked[:0],
    )
    batch = one_pass(evaluate(empty))[0]
    assert batch["candidates"] == batch["clicked"] == [[0]]


def test_string_features_pass_through():
    countries = tf.data.Dataset.from_tensor_slices(["se", "no"] * 11)
    behaviors = tf.data.Dataset.zip((BEHAVIORS, countries))
    behaviors = behaviors.map(lambda row, country: row | {"country": country})
    batch = next(iter(train(behaviors, features=["country"])))
    expected = [b"no" if i % 2 else b"se" for i in batch["impression_id"].numpy()]
    assert batch["country"].numpy().tolist() == expected


def with_ages(unknown=()):
    """Impressions with a feature that says of each candidate which it is, and of which list."""
    ages = 100 * np.arange(22).repeat(np.diff(IMPRESSIONS.candidate_splits))
    articles = np.where(
        np.isin(IMPRESSIONS.candidate_values, unknown), 1, IMPRESSIONS.candidate_values
    )
    features = {"age": ages + articles, "pair": np.stack([ages, articles], axis=1) + 0.5}
    return dataclasses.replace(
        IMPRESSIONS, candidate_values=articles, features={}, candidate_features=features
    )


@pytest.mark.parametrize("make", [train, evaluate])
@pytest.mark.parametrize("changes", [{}, {"negatives_per_positive": 9, "history_rows": 2}])
def test_features_of_candidates_are_aligned(make, changes):
    """Whatever is drawn, shuffled, left out or padded."""
    batches = make(with_ages(unknown=range(2, 20)), features=["age", "pair"], **changes)
    width = batches.element_spec["candidates"].shape[1]
    assert batches.element_spec["age"] == tf.TensorSpec([None, width], tf.int64)
    assert batches.element_spec["pair"] == tf.TensorSpec([None, width, 2], tf.float64)
    seen = 0
    for batch in batches.as_numpy_iterator():
        articles = batch["candidates"]
        of_impressions = batch["age"].any(axis=1)
        expected = 100 * (batch["impression_id"][:, None] - 1000) + articles
        is_real = (articles != 0) & of_impressions[:, None]
        np.testing.assert_array_equal(batch["age"], np.where(is_real, expected, 0))
        np.testing.assert_array_equal(batch["pair"][..., 1], np.where(is_real, articles + 0.5, 0))
        seen += is_real.sum()
        assert of_impressions.all() or changes
    assert seen > 22


def test_only_the_features_asked_for():
    assert "time" not in train().element_spec
    assert "time" not in evaluate().element_spec


@pytest.mark.parametrize("make", [train, evaluate])
def test_bad_input(make):
    with pytest.raises(ValueError, match="these impressions lack the feature weather"):
        make(features=["time", "weather"])
    with pytest.raises(ValueError, match="behaviors lacks weather"):
        make(BEHAVIORS, features=["weather"])
    with pytest.raises(TypeError, match="tf.data.Dataset or Impressions"):
        make([{"user_id": "U1"}])
    with pytest.raises(ValueError, match="no impressions"):
        make(IMPRESSIONS.take(slice(0, 0)))


def test_impressions_of_another_catalogue():
    small = NewsCatalog().adapt({"news_id": ["N0"], "title": ["a"]})
    with pytest.raises(ValueError, match="another catalogue"):
        impression_batches(IMPRESSIONS, small, USERS, config())
    with pytest.raises(ValueError, match="another catalogue or user index"):
        training_batches(IMPRESSIONS, CATALOG, UserIndex(), config())
