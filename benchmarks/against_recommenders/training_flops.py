"""Floating-point operations of a training step of NPA, by formula.

A product of `[m, k]` and `[k, n]` counts `2 m k n`; everything else (dropout, softmax, relu, tanh,
gathers, the optimizer) counts nothing. The backward pass has two products for each one of the
forward pass, for the inputs and for the weights, so a step counts three times its forward pass.
"""

from __future__ import annotations

import numpy as np

from tfrs_npa import NPAConfig


def padded(config: NPAConfig, batch_size: int) -> float:
    """The work as published: each of `history_length + 1 + K` titles of each row, at full length.

    Args:
        config: Hyper-parameters, with personalised attentions.
        batch_size: Rows B.
    """
    articles = config.history_length + 1 + config.negatives_per_positive
    words = config.title_length
    forward = articles * words * (_convolution(config) + _key(config) + _pooled(config))
    forward += (articles + 1) * _query(config)
    forward += config.history_length * (_key(config) + _pooled(config))
    forward += (1 + config.negatives_per_positive) * 2 * config.num_filters
    return 3.0 * batch_size * forward


def packed(config: NPAConfig, batch: dict[str, np.ndarray], tokens: np.ndarray) -> float:
    """The work that remains if nothing is computed twice and masked padding is skipped.

    The convolution is counted as three projections of each distinct word of the batch, the keys for
    each word of each distinct title, the pooling for each title of each row.

    Args:
        config: Hyper-parameters, with personalised attentions.
        batch: `history` `[B, H]` and `candidates` `[B, 1 + K]`, 0 at padding.
        tokens: `[articles, title_length]` words of titles, 0 at padding.
    """
    history, candidates = np.asarray(batch["history"]), np.asarray(batch["candidates"])
    lengths = np.full(len(tokens), tokens.shape[1])
    if config.mask_padding:
        lengths = np.count_nonzero(tokens, axis=1)
        history = history[history != 0]
    titles = np.concatenate([history.ravel(), candidates[candidates != 0]])
    distinct = np.unique(titles)
    words = np.unique(tokens[distinct])
    if config.mask_padding:
        words = words[words != 0]
    forward = len(words) * _convolution(config)
    forward += lengths[distinct].sum() * _key(config)
    forward += lengths[titles].sum() * _pooled(config)
    forward += 2 * len(batch["history"]) * _query(config)
    forward += history.size * (_key(config) + _pooled(config))
    forward += np.count_nonzero(candidates) * 2 * config.num_filters
    return 3.0 * forward


def _convolution(config: NPAConfig) -> int:
    return 2 * config.window_size * config.word_embedding_dim * config.num_filters


def _key(config: NPAConfig) -> int:
    # In the paper's form, what is pooled is the key.
    return 2 * config.num_filters * config.attention_dim if _projects_keys(config) else 0


def _query(config: NPAConfig) -> int:
    product = 2 * config.user_embedding_dim * config.attention_dim
    return product + (0 if _projects_keys(config) else 2 * config.attention_dim * _dim(config))


def _pooled(config: NPAConfig) -> int:
    return 2 * _dim(config) + 2 * config.num_filters


def _dim(config: NPAConfig) -> int:
    """Size of a query."""
    return config.attention_dim if _projects_keys(config) else config.num_filters


def _projects_keys(config: NPAConfig) -> bool:
    return config.attention == "recommenders"
