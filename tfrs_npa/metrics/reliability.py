"""Calibration of scores: whether articles are clicked as often as the model expects.

What is compared, as in the reliability diagrams of Guo et al., On Calibration of Modern Neural
Networks, ICML 2017, section 2: predicted probabilities, in bins, with how often what was predicted
came true. There, a prediction is the class that a network finds most likely; here, every candidate
of an impression has one, which the loss of the training defines: the softmax of its score over
those of the impression, the probability that a click of this impression is on this candidate. What
comes true is the share of the impression's clicks that the candidate got: 1 or 0 where there is one
click. Both sum to 1 over an impression, so that an order of candidates says nothing of calibration,
and a calibrated model may order them badly.

Bins are equally wide in the logarithm, since most of many candidates have small probabilities. Guo
et al. have bins of equal width.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from tfrs_npa.metrics.significance import CONFIDENCE

LAST_BIN = 15
"""Bins are numbered from 0; bin n holds probabilities about 2^-n, and the last all below too."""
_WIDTH = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def log_softmax(scores: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Returns the logarithms of the softmax of the scores of each impression.

    Args:
        scores: float `[candidates]` of all impressions.
        splits: `int64 [impressions + 1]`; impression `i` has `scores[splits[i] : splits[i + 1]]`.

    Returns:
        float64 `[candidates]`.
    """
    lengths = np.diff(splits)
    rows = np.flatnonzero(lengths)  # others have nothing to sum
    starts, lengths = splits[rows], lengths[rows]
    shifted = scores.astype(np.float64)
    shifted -= np.repeat(np.maximum.reduceat(shifted, starts), lengths)
    return shifted - np.repeat(np.log(np.add.reduceat(np.exp(shifted), starts)), lengths)


def reliability(clicked: np.ndarray, scores: np.ndarray, splits: np.ndarray) -> dict[str, Any]:
    """Compares predicted probabilities of clicks with clicks; see the module.

    Args:
        clicked: int `[candidates]` of all impressions: 1 clicked, others not.
        scores: float `[candidates]`, over `NPAConfig.temperature`, as the loss has them.
        splits: `int64 [impressions + 1]`, as `log_softmax` takes them.

    Returns:
        A dict that JSON can hold, of the impressions that have a click and a candidate without one:
        `impressions` and `candidates`, how many; `expected_error`, the expected calibration error
        (Guo et al., equation 3), None without any: the mean over candidates of the difference in
        their bin; and `bins`, those with a candidate, the smallest probabilities first: `from` and
        `to`, `candidates`, the means of `predicted` and `clicked`, and `interval` of the latter,
        95 % by the normal approximation for a ratio of sums over impressions (Cochran, Sampling
        Techniques, 1977, chapter 6), too narrow where few were clicked.
    """
    lengths, is_click = np.diff(splits), clicked == 1
    row = np.repeat(np.arange(len(lengths)), lengths)
    clicks = np.bincount(row, is_click, len(lengths))
    chosen = ((clicks > 0) & (clicks < lengths))[row]
    log = log_softmax(scores, splits)[chosen]
    if np.isnan(log).any() or not len(log):
        return {"impressions": 0, "candidates": 0, "expected_error": None, "bins": []}
    _, row = np.unique(row[chosen], return_inverse=True)
    share = is_click[chosen] / np.bincount(row, is_click[chosen])[row]
    # Edges are at 2^-0.5, 2^-1.5 and so on, which is never the share of one in a whole number.
    numbers = np.minimum(np.rint(-log / np.log(2)), LAST_BIN).astype(np.int64)
    impressions, bins = int(row[-1]) + 1, LAST_BIN + 1

    def sums(values: np.ndarray | None = None) -> np.ndarray:
        cells = np.bincount(row * bins + numbers, values, impressions * bins)
        return cells.reshape(impressions, bins)

    counts, clicked_sums = sums(), sums(share)
    candidates = counts.sum(axis=0)
    filled = np.flatnonzero(candidates)
    candidates = candidates[filled]
    predicted = sums(np.exp(log)).sum(axis=0)[filled] / candidates
    found = clicked_sums.sum(axis=0)[filled] / candidates
    residuals = clicked_sums[:, filled] - found * counts[:, filled]
    half = _WIDTH * np.sqrt(np.square(residuals).sum(axis=0)) / candidates
    return {
        "impressions": impressions,
        "candidates": int(candidates.sum()),
        "expected_error": float(candidates @ np.abs(predicted - found) / candidates.sum()),
        "bins": [
            {
                "from": 0.0 if number == LAST_BIN else 2 ** -(number + 0.5),
                "to": min(2 ** -(number - 0.5), 1.0),
                "candidates": int(count),
                "predicted": float(expected),
                "clicked": float(mean),
                "interval": [float(max(mean - width, 0)), float(min(mean + width, 1))],
            }
            for number, count, expected, mean, width in zip(
                filled.tolist(), candidates, predicted, found, half, strict=True
            )
        ][::-1],
    }
