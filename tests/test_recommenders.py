"""Our `recommenders` form against numbers of Microsoft Recommenders (see oracle/README.md)."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.recommenders import load_recommenders_weights

THEIRS = np.load(pathlib.Path(__file__).parent / "oracle" / "recommenders_small.npz")
SIZES = json.loads(str(THEIRS["config_json"]))
NAMES = ["word_embedding", "user_embedding", "conv_kernel", "conv_bias"] + [
    f"{tower}_{part}"
    for tower in ("news", "user")
    for part in ("query_kernel", "query_bias", "att_kernel", "att_bias")
]
WEIGHTS = [THEIRS[f"w__{name}"] for name in NAMES]
USER = THEIRS["user_indexes"][:, 0]


def config(**changes):
    return tfrs_npa.NPAConfig.preset("recommenders").replace(
        title_length=SIZES["title_size"],
        history_length=SIZES["his_size"],
        num_filters=SIZES["filter_num"],
        window_size=SIZES["window_size"],
        word_embedding_dim=SIZES["word_emb_dim"],
        user_embedding_dim=SIZES["user_emb_dim"],
        attention_dim=SIZES["attention_hidden_dim"],
        negatives_per_positive=SIZES["npratio"],
        **{"dropout": 0.0, "pooling_dropout": 0.0, "user_dropout": 0.0} | changes,
    )


def news_id(tokens):
    return "N" + "-".join(map(str, tokens))


def titles(*arrays):
    """Every title of token rows `[..., title]`, as an id and words; their word 0 is unknown."""
    rows = np.unique(np.concatenate([a.reshape(-1, a.shape[-1]) for a in arrays]), axis=0)
    words = [" ".join(f"w{t}" for t in np.trim_zeros(row, "b")) for row in rows]
    return {"news_id": [news_id(row) for row in rows], "title": words}


def make_model(**changes):
    vocabulary = tfrs_npa.Vocabulary.from_words(f"w{i}" for i in range(1, SIZES["vocab"]))
    catalog = tfrs_npa.NewsCatalog(vocabulary=vocabulary)
    catalog.extend(titles(THEIRS["his_input_title"], THEIRS["pred_input_title"]))
    users = tfrs_npa.UserIndex().adapt({"user_id": [f"U{i}" for i in range(1, SIZES["users"])]})
    model = tfrs_npa.NPA(config(**changes), catalog, users)
    load_recommenders_weights(model, WEIGHTS)
    return model


def make_batch(model):
    def indices(tokens):
        ids = [[news_id(title) for title in row] for row in tokens]
        return model.catalog.index(ids)

    history = indices(THEIRS["his_input_title"])
    # An empty slot of a history is padding; the title without words of a candidate is an article.
    history[~THEIRS["his_input_title"].any(axis=-1)] = 0
    return {
        "user_id": tf.constant(USER),
        "history": tf.constant(history),
        "candidates": tf.constant(indices(THEIRS["pred_input_title"])),
        "clicked": tf.constant(THEIRS["labels"].astype(np.int32)),
    }


def variables(model):
    news, user = model.candidate_tower, model.query_tower
    return dict(
        zip(
            NAMES,
            [news.word_table, model.user_embedding.table]
            + [news.convolution_kernel, news.convolution_bias]
            + [
                getattr(attention, part)
                for attention in (news.attention, user.attention)
                for part in ("query_kernel", "query_bias", "key_kernel", "key_bias")
            ],
        )
    )


def dense_gradients(model, batch):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True)
    names = variables(model)
    gradients = tape.gradient(loss, list(names.values()))
    return loss, dict(zip(names, map(tf.convert_to_tensor, gradients)))


def in_their_rows(name, gradient):
    """Adds our two word rows 0 and 1 up: they are one row there."""
    gradient = gradient.numpy()
    if name != "word_embedding":
        return gradient
    return np.concatenate([gradient[:1] + gradient[1:2], gradient[2:]])


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def batch(model):
    return make_batch(model)


def test_batch_is_the_oracles(model, batch):
    tokens = model.candidate_tower.tokens.numpy()
    # 1, an unknown word, is their 0.
    theirs = np.where(tokens > 1, tokens - 1, 0)
    np.testing.assert_array_equal(theirs[batch["history"]], THEIRS["his_input_title"])
    np.testing.assert_array_equal(theirs[batch["candidates"]], THEIRS["pred_input_title"])


def test_logits_and_softmax(model, batch):
    logits = model(batch)
    assert_close(logits, THEIRS["logits"])
    assert_close(tf.nn.softmax(logits), THEIRS["model_softmax"])
    assert_close(tf.sigmoid(logits[:, :1]), THEIRS["scorer_sigmoid"][:, :1])


def test_towers(model, batch):
    assert_close(model.query_tower(batch), THEIRS["user_encoder"])
    for name in ("candidates", "history"):
        ids = batch[name]
        pairs = {
            "user_id": tf.repeat(batch["user_id"], ids.shape[1]),
            "news_id": tf.reshape(ids, [-1]),
        }
        theirs = THEIRS[f"news_encoder_{name}"]
        assert_close(model.candidate_tower(pairs), theirs.reshape(-1, theirs.shape[-1]))


def test_queries_and_attention(model, batch):
    users = model.user_embedding(batch["user_id"])
    assert_close(model.candidate_tower.attention.query(users), THEIRS["news_query"])
    assert_close(model.query_tower.attention.query(users), THEIRS["user_query"])
    clicks = model.query_tower.clicks(batch["history"])
    features, titles = model.candidate_tower.distinct_features(clicks.news_id)
    attention = model.query_tower.encode(clicks, features, titles, users)["attention"]
    # Padded slots, which are alike, share their weight.
    each = attention / tf.cast(attention.with_values(clicks.slots), tf.float32)
    theirs = tf.RaggedTensor.from_tensor(THEIRS["user_attention"])
    for ids, history, weights, expected in zip(
        attention.with_values(clicks.news_id), batch["history"], each, theirs, strict=True
    ):
        weight_of = dict(zip(ids.numpy(), weights.numpy(), strict=True))
        assert_close([weight_of[article] for article in history.numpy()], expected)


def test_loss_and_gradients(model, batch):
    loss, gradients = dense_gradients(model, batch)
    assert_close(loss, THEIRS["loss_before"])
    for name, gradient in gradients.items():
        np.testing.assert_allclose(
            in_their_rows(name, gradient),
            THEIRS[f"grad__{name}"],
            rtol=1e-5,
            atol=1e-5,
            err_msg=name,
        )


def test_three_steps_of_dense_adam():
    model = make_model()
    batch = make_batch(model)
    # Our rows 0 and 1 have moments of their own. Only row 0 is used here, so that it moves as
    # their row 0 does.
    tokens = model.candidate_tower.tokens
    tokens.assign(tf.where(tokens == 1, 0, tokens))
    optimizer = tf.keras.optimizers.Adam(1e-4, epsilon=1e-7)
    losses = []
    for step in range(1, 4):
        loss, gradients = dense_gradients(model, batch)
        losses.append(loss)
        optimizer.apply_gradients((gradients[n], v) for n, v in variables(model).items())
        if step == 2:
            continue
        for name, variable in variables(model).items():
            ours = variable.numpy()
            if name == "word_embedding":
                np.testing.assert_array_equal(ours[1], WEIGHTS[0][0])
                ours = np.delete(ours, 1, axis=0)
            before, after = THEIRS[f"w__{name}"], THEIRS[f"adam{step}__{name}"]
            np.testing.assert_allclose(ours, after, rtol=1e-5, atol=1e-6, err_msg=name)
            # The weights hardly move: what they moved by says more. Where a gradient is near
            # Adam's epsilon, rounding decides the direction.
            sure = np.abs(THEIRS[f"grad__{name}"]) > 1e-4
            moved, expected = (ours - before)[sure], (after - before)[sure]
            assert np.all(np.abs(expected) > 0.5e-4)
            np.testing.assert_allclose(moved, expected, atol=0.02e-4 * step, err_msg=name)
    assert_close([*losses, model.compute_loss(batch)], THEIRS["adam_losses"])


class RowAdam:
    """Adam with bias correction by the global step, on the rows that a batch uses; float64."""

    def __init__(self, value, rate, epsilon=1e-7):
        self.value = value.astype(np.float64)
        self.m, self.v = np.zeros_like(self.value), np.zeros_like(self.value)
        self.rate, self.epsilon, self.t = rate, epsilon, 0

    def step(self, gradient, rows):
        self.t += 1
        for row in rows:
            g = gradient[row].astype(np.float64)
            self.m[row] = 0.9 * self.m[row] + 0.1 * g
            self.v[row] = 0.999 * self.v[row] + 0.001 * g * g
            m_hat = self.m[row] / (1 - 0.9**self.t)
            v_hat = self.v[row] / (1 - 0.999**self.t)
            # Keras adds its epsilon before the correction of v.
            epsilon = self.epsilon / np.sqrt(1 - 0.999**self.t)
            self.value[row] -= self.rate * m_hat / (np.sqrt(v_hat) + epsilon)


def test_lazy_adam_on_alternating_batches():
    """Tables move in the rows of the batch only; the rest as with dense Adam."""
    rate, table_rate = 1e-3, 5e-3
    model = make_model(learning_rate=rate, table_learning_rate=table_rate, mask_padding=True)
    whole = make_batch(model)
    batches = [{name: value[a:b] for name, value in whole.items()} for a, b in ((0, 4), (4, 6))]
    optimizer = tfrs_npa.default_optimizer(model.config)
    tables = ("word_embedding", "user_embedding")
    twins = {
        name: RowAdam(variable.numpy(), table_rate if name in tables else rate)
        for name, variable in variables(model).items()
    }
    model.compile(optimizer=optimizer)
    tokens = model.candidate_tower.tokens.numpy()
    all_used = {name: set() for name in tables}
    for step in range(6):
        batch = batches[step % 2]
        # The twin's gradients are taken at the model's weights, so errors do not add up.
        _, gradients = dense_gradients(model, batch)
        shown = np.concatenate([batch["history"], batch["candidates"]], axis=1)
        used = {
            "word_embedding": set(tokens[shown[shown > 0]].ravel()) - {0},
            "user_embedding": set(batch["user_id"].numpy()),
        }
        model.train_step(batch)
        for name, variable in variables(model).items():
            all_rows = range(variable.shape[0])
            twins[name].step(gradients[name].numpy(), used.get(name, all_rows))
            np.testing.assert_allclose(
                variable.numpy(), twins[name].value, rtol=1e-5, atol=1e-5, err_msg=name
            )
        for name, rows in used.items():
            all_used[name] |= rows
    for name, before in (("word_embedding", WEIGHTS[0]), ("user_embedding", WEIGHTS[1])):
        if name == "word_embedding":
            before = np.concatenate([before[:1], before])
        after = variables(model)[name].numpy()
        still = np.array(sorted(set(range(len(before))) - all_used[name]))
        assert len(still) > 0
        np.testing.assert_array_equal(after[still], before[still])
        assert np.all(np.any(after != before, axis=1)[sorted(all_used[name])])


@pytest.mark.parametrize("position", range(12))
def test_wrong_shape_names_the_array(model, position):
    weights = list(WEIGHTS)
    weights[position] = np.zeros([*weights[position].shape[:-1], 77])
    before = model.get_weights()
    with pytest.raises(ValueError, match=rf"^{NAMES[position]} has .*77") as error:
        load_recommenders_weights(model, weights)
    assert str(WEIGHTS[position].shape) in str(error.value)
    for ours, kept in zip(model.get_weights(), before):
        np.testing.assert_array_equal(ours, kept)


def test_wrong_number_of_arrays(model):
    with pytest.raises(ValueError, match="gives 12 arrays .*found 11"):
        load_recommenders_weights(model, WEIGHTS[:-1])


@pytest.mark.parametrize(
    "changes", [{"attention": "paper"}, {"word_attention": "mean"}, {"news_attention": "vanilla"}]
)
def test_other_form(changes):
    with pytest.raises(ValueError, match="recommenders") as error:
        load_recommenders_weights(make_model_without_weights(**changes), WEIGHTS)
    assert next(iter(changes.values())) in str(error.value)


def make_model_without_weights(**changes):
    catalog = tfrs_npa.NewsCatalog().adapt({"news_id": ["N1"], "title": ["some words"]})
    return tfrs_npa.NPA(config(**changes), catalog, tfrs_npa.UserIndex())
