"""Properties of the scores that hold whatever the input."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

# As `random_model` has them.
ARTICLES, UNKNOWN_ARTICLE, WITHOUT_WORDS = 8, 1, 4
FORMS = {
    "attention": st.sampled_from(["recommenders", "paper"]),
    "user_interest": st.sampled_from(["mean", "density"]),
}
FIELDS = st.fixed_dictionaries(FORMS | {"mask_padding": st.booleans()})
MASKED = st.fixed_dictionaries(FORMS | {"mask_padding": st.just(True)})
SEEDS = st.integers(0, 10**6)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@st.composite
def batches(draw):
    """Up to 4 impressions; histories may hold padding anywhere and be empty."""
    rows, clicks, shown = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 5))

    def matrix(least, columns):
        row = st.lists(st.integers(least, ARTICLES - 1), min_size=columns, max_size=columns)
        return np.array(draw(st.lists(row, min_size=rows, max_size=rows)))

    users = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    return {
        "user_id": np.array(users),
        "history": matrix(0, clicks),
        "candidates": matrix(1, shown),
    }


properties = settings(max_examples=12, deadline=None)


@pytest.mark.slow
@properties
@given(FIELDS, batches(), SEEDS)
def test_permuted_candidates_permute_the_scores(random_model, fields, batch, seed):
    model = random_model(**fields)
    columns = np.random.default_rng(seed).permutation(batch["candidates"].shape[1])
    permuted = batch | {"candidates": batch["candidates"][:, columns]}
    assert_close(model(permuted), model(batch).numpy()[:, columns])


@pytest.mark.slow
@properties
@given(FIELDS, batches())
def test_a_score_does_not_depend_on_the_other_candidates(random_model, fields, batch):
    model = random_model(**fields)
    together = model(batch).numpy()
    for column in range(together.shape[1]):
        alone = batch | {"candidates": batch["candidates"][:, [column]]}
        assert_close(model(alone), together[:, [column]])


@pytest.mark.slow
@properties
@given(FIELDS, batches())
def test_a_score_does_not_depend_on_the_other_impressions(random_model, fields, batch):
    model = random_model(**fields)
    together = model(batch).numpy()
    for row in range(len(together)):
        alone = {name: value[[row]] for name, value in batch.items()}
        assert_close(model(alone), together[[row]])


@properties
@given(FIELDS, batches(), st.integers(1, 3), SEEDS)
def test_padded_candidates_change_nothing(random_model, fields, batch, more, seed):
    model = random_model(**fields)
    width = batch["candidates"].shape[1]
    padded = np.pad(batch["candidates"], [(0, 0), (0, more)])
    columns = np.random.default_rng(seed).permutation(width + more)
    logits = model(batch | {"candidates": padded[:, columns]}).numpy()
    assert np.all(logits[padded[:, columns] == 0] == -1e9)
    back = np.argsort(columns)
    assert_close(logits[:, back[:width]], model(batch))


@properties
@given(MASKED, batches(), st.integers(0, 3), SEEDS)
def test_masked_padding_of_histories_changes_nothing(random_model, fields, batch, more, seed):
    model = random_model(**fields)
    generator = np.random.default_rng(seed)
    history = np.pad(batch["history"], [(0, 0), (0, more)])
    # The attention knows no order, so the clicks may move too.
    moved = np.stack([generator.permutation(row) for row in history])
    assert_close(model(batch | {"history": moved}), model(batch))


@pytest.mark.slow
@properties
@given(MASKED, batches())
def test_masked_padding_of_titles_changes_nothing(random_model, fields, batch):
    long = random_model(**fields, title_length=8)  # the longest title has 8 words
    longer = random_model(**fields, title_length=13)
    assert_close(longer(batch), long(batch))


@pytest.mark.parametrize("attention", ["recommenders", "paper"])
def test_unmasked_padding_takes_part(attention, random_model, odd_batch):
    """As in the published code; were it masked by accident, this would not show in the twin."""
    model = random_model(mask_padding=False, attention=attention)
    wider = odd_batch | {"history": np.pad(odd_batch["history"], [(0, 0), (0, 2)])}
    assert np.abs(model(wider).numpy() - model(odd_batch).numpy())[0, 0] > 1e-4


@pytest.mark.slow
@properties
@given(FIELDS, batches())
def test_score_is_made_of_the_products_of_the_towers(random_model, fields, batch):
    model = random_model(**fields)
    shape = batch["candidates"].shape
    pairs = {
        "user_id": np.repeat(batch["user_id"], shape[1]),
        "news_id": batch["candidates"].ravel(),
    }
    users = model.query_tower({"user_id": batch["user_id"], "history": batch["history"]})
    articles = tf.reshape(model.candidate_tower(pairs), [*shape, -1])
    assert_close(model.query_tower.scores(users, articles), model(batch))
    products = np.einsum("b...f,bcf->bc...", users, articles)
    if fields["user_interest"] == "density":
        products = np.log(np.exp(products).sum(axis=2))
    assert_close(products, model(batch))


@pytest.mark.slow
@properties
@given(FIELDS, batches())
def test_the_graph_computes_what_eager_mode_does(random_model, fields, batch):
    model = random_model(**fields)
    names = {"user_id": [None], "history": [None, None], "candidates": [None, None]}
    if not hasattr(model, "traced"):
        spec = {name: tf.TensorSpec(shape, tf.int64) for name, shape in names.items()}
        model.traced = tf.function(lambda features: model(features), input_signature=[spec])
    assert_close(model.traced({name: tf.constant(batch[name]) for name in names}), model(batch))


@pytest.mark.parametrize("mask_padding", [True, False], ids=["masked", "unmasked"])
def test_unknown_article_is_scored_as_a_title_without_words(mask_padding, random_model, odd_batch):
    model = random_model(mask_padding=mask_padding)
    both = odd_batch | {"candidates": np.array([[UNKNOWN_ARTICLE, WITHOUT_WORDS]] * 4)}
    scores = model(both).numpy()
    assert np.all(scores > -1e8)
    np.testing.assert_array_equal(scores[:, 0], scores[:, 1])


def as_if_not_there(model, batch):
    """Scores without the unknown clicks, and the mean of the others for unknown candidates."""
    known = np.where(batch["history"] == UNKNOWN_ARTICLE, 0, batch["history"])
    scores = model(batch | {"history": known}).numpy()
    for row, candidates in zip(scores, batch["candidates"]):
        others = row[candidates > UNKNOWN_ARTICLE]
        row[candidates == UNKNOWN_ARTICLE] = others.mean() if len(others) else 0
    return scores


@pytest.mark.slow
@properties
@given(FIELDS, batches())
def test_unknown_articles_are_left_out(random_model, fields, batch):
    model = random_model(**fields, unknown_articles="left_out")
    assert_close(model(batch), as_if_not_there(random_model(**fields), batch))


def test_everything_may_be_unknown(random_model):
    model = random_model(unknown_articles="left_out")
    nothing = {"user_id": [1], "history": [[0, 0]], "candidates": [[2, 1]]}
    unknown = nothing | {"history": [[1, 1]]}
    assert_close(model(unknown), model(nothing))
    assert model(unknown).numpy()[0, 1] == model(unknown).numpy()[0, 0]
    assert model(nothing | {"candidates": [[1, 0, 1]]}).numpy().tolist() == [[0, -1e9, 0]]


def test_users_beyond_the_table_are_unknown(random_model, odd_batch):
    model = random_model()
    new = model(odd_batch | {"user_id": np.array([4, 99, 1, 2**31 - 1])}).numpy()
    assert_close(new, model(odd_batch | {"user_id": np.array([0, 0, 1, 0])}))


@pytest.mark.parametrize("unit_vectors", [True, False])
def test_user_without_clicks_gets_the_default_vector(unit_vectors, random_model):
    fields = {"user_interest": "mean", "item_bias": False, "unit_vectors": unit_vectors}
    model = random_model(**fields)
    batch = {"user_id": np.array([0, 2]), "history": np.zeros([2, 3], np.int32)}
    expected = model.query_tower.default_history.numpy()
    if unit_vectors:
        expected = model.candidate_tower.logit_scale.numpy() * expected
    assert_close(model.query_tower(batch), [expected] * 2)


def test_user_without_clicks_has_everyones_density(random_model, odd_batch):
    """What is left of the score is the appeal of the title, the same for every user."""
    batch = odd_batch | {
        "history": np.zeros([4, 3], np.int32),
        "candidates": np.tile(odd_batch["candidates"][[3]], [4, 1]),
    }
    scores = random_model()(batch).numpy()
    assert np.ptp(scores[0]) > 1e-3
    assert_close(scores, scores[[0] * 4])
    assert_close(random_model(item_bias=False)(batch), np.zeros([4, 3]))


def test_users_differ(random_model, odd_batch):
    """Same clicks, same candidates: only the person differs, and so do the scores."""
    for mask_padding in (True, False):
        rows = {name: np.repeat(value[[3]], 4, axis=0) for name, value in odd_batch.items()}
        model = random_model(mask_padding=mask_padding)
        scores = model(rows | {"user_id": np.arange(4)}).numpy()
        assert np.ptp(scores, axis=0).min() > 1e-3


def test_gradients_are_finite_with_nothing_real(random_model):
    """No clicks, no words, nothing to compare with: everything that could divide by zero."""
    model = random_model(mask_padding=True)
    batch = {
        "user_id": np.array([0, 1]),
        "history": np.array([[0, 0], [1, 4]]),
        "candidates": np.array([[1, 4], [4, 0]]),
        "clicked": np.array([[1, 0], [0, 0]]),
    }
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, model.trainable_variables):
        if gradient is not None:
            assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))
