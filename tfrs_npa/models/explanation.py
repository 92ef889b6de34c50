"""Explains scores: attention weights, and what each clicked article adds to each score."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrs_npa.data.catalog import PADDING
from tfrs_npa.layers.packed import packed_rows, selected
from tfrs_npa.models.distributed_model import check_is_npa


class Explanation(NamedTuple):
    """Scores, and the attention weights (Wu et al., KDD 2019, equations 4 and 8) behind them.

    The weights of a title, and of a history, sum to 1; they are all 0 for a title without words
    and for an empty history. Where a model does not mask padding, padded words have weights too,
    and what the clicked articles lack to 1 lies on the padding of the history.

    A score is its base score plus the contributions of the clicked articles, see
    `UserEncoder.contributions`.

    Attributes:
        scores: `[batch, candidates]`, 0 at padding; of unknown articles as
            `NPA.with_unknown_articles` has them.
        candidate_word_weights: `[batch, candidates, title_length]`, 0 at padding.
        history_weights: `[batch, history]`, the weights of the clicked articles, 0 at padding and
            for unknown articles that are left out.
        history_word_weights: `[batch, history, title_length]`, those of the words of their titles.
        contributions: `[batch, candidates, history]`, what each clicked article adds to a score; 0
            at padding and for unknown articles that are left out.
        base_scores: `[batch, candidates]`, what a score is without them: the term of the title
            alone, the vector of a history without clicks, and padding that takes part.
    """

    scores: tf.Tensor
    candidate_word_weights: tf.Tensor
    history_weights: tf.Tensor
    history_word_weights: tf.Tensor
    contributions: tf.Tensor
    base_scores: tf.Tensor


def explain(model, user_id, history, candidates) -> Explanation:
    """Explains the scores of candidates, as `NPA.explain`.

    Words are those of `model.candidate_tower.tokens`, in their order. Runs eagerly and in a graph.

    >>> batch = next(iter(impression_batches))
    >>> found = explain(model, batch["user_id"], batch["history"], batch["candidates"])
    >>> model.catalog.titles[batch["history"][0, tf.argmax(found.history_weights[0])]]

    Args:
        model: The `NPA`.
        user_id: `[batch]` indices of the user index.
        history: `[batch, history]` indices of the catalogue, 0 at padding, as wide as
            `impression_batches` makes it.
        candidates: `[batch, candidates]` indices of the catalogue, 0 at padding.

    Returns:
        An `Explanation`, float32.
    """
    check_is_npa(model, "explain")
    tower, query_tower = model.candidate_tower, model.query_tower
    history, candidates = tf.cast(history, tf.int32), tf.cast(candidates, tf.int32)
    embedding = model.user_embedding(user_id)
    clicks = query_tower.clicks(history)
    slots = tf.where(candidates != PADDING)
    owners = tf.cast(slots[:, 0], tf.int32)
    articles = tf.concat([clicks.news_id, tf.gather_nd(candidates, slots)], axis=0)
    features, titles = tower.distinct_features(articles)
    parts = [tf.size(clicks.news_id), tf.size(owners)]
    clicked, shown = tf.split(titles, parts)
    user = query_tower.encode(clicks, features, clicked, embedding)
    scores = tower.score(features, shown, owners, user["word_query"], user["output"])
    vectors = tower.vectors(features, shown, owners, user["word_query"])
    rows = tf.concat([packed_rows(clicks.lengths), owners], axis=0)
    words = _word_weights(tower, features, titles, rows, user["word_query"], articles)
    clicked_words, shown_words = tf.split(words, parts)

    # Padding that takes part comes after the articles of a history.
    is_click = clicks.news_id != PADDING
    clicked_slots = tf.where(query_tower.known(history) != PADDING)

    def of_clicks(values):
        return placed(clicked_slots, selected(values, is_click), tf.shape(history))

    def of_candidates(values):
        return placed(slots, values, tf.shape(candidates))

    scores = model.with_unknown_articles(of_candidates(scores), candidates)
    shares = query_tower.contributions(user, clicks, of_candidates(vectors))
    # Unknown articles that are left out have no score of their own.
    is_scored = tf.cast(query_tower.known(candidates) != PADDING, tf.float32)
    shares = tf.transpose(of_clicks(shares), [0, 2, 1]) * is_scored[:, :, tf.newaxis]
    return Explanation(
        scores,
        of_candidates(shown_words),
        of_clicks(user["attention"].flat_values),
        of_clicks(clicked_words),
        shares,
        scores - tf.reduce_sum(shares, axis=2),
    )


def _word_weights(tower, features, titles, rows, query, articles):
    """Returns the weights of the words of titles, `[titles, title_length]`, 0 at padding.

    Args:
        tower: The candidate tower.
        features: `TitleFeatures` of the titles.
        titles: `[titles]` the title of each in `features`.
        rows: `[titles]` rows of `query`: the user that each title is encoded for.
        query: The result of `tower.attention.query`, `[batch, ...]`.
        articles: `[titles]` indices of the catalogue.
    """
    if features.keys is not None:
        weights, _, lengths = tower.word_weights(features, titles, rows, query)
        weights = tf.RaggedTensor.from_row_lengths(weights, lengths, validate=False)
    else:
        # The titles are pooled already, with weights that are the same for every user.
        values, lengths = tower.contextual_words(*tower.title_inputs(articles))
        keys = tower.attention.keys(values)
        weights = tower.attention.pool_packed(values, keys, query, lengths)["attention"]
    return weights.to_tensor(shape=[None, tower.config.title_length])


def placed(slots, values, shape):
    """Returns `values` `[n, ...]` at `slots` `[n, 2]` of float32 zeros `[*shape, ...]`."""
    shape = tf.concat([shape, tf.shape(values)[1:]], axis=0)
    return tf.scatter_nd(slots, tf.cast(values, tf.float32), tf.cast(shape, slots.dtype))
