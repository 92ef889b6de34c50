"""Draws what a re-ranking costs: AUC and nDCG@10 against the diversity, or calibration, of lists.

Ranks the impressions of a run's data by its model, re-ranks the ten best candidates of each among
all its candidates with several trade-offs, and measures the result. The other candidates keep their
order, below those ten.

    python examples/diversity_trade_off.py --run runs/mine --to trade-off.png
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
from tabulate import tabulate

from tfrs_npa._files import atomic_file
from tfrs_npa.data.article_values import category_indices
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.loading import load_mind
from tfrs_npa.metrics import lists
from tfrs_npa.metrics.impression_values import impression_values, mean_values
from tfrs_npa.retrieval.reranking import calibrated, mmr
from tfrs_npa.runs.baselines import title_vectors
from tfrs_npa.runs.evaluation import model_logits
from tfrs_npa.runs.run import Run

TRADE_OFFS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
K = 10
_BLOCK = 256


def reranked_scores(
    scores: np.ndarray,
    impressions: Impressions,
    method: str,
    trade_off: float,
    vectors: np.ndarray,
    category: np.ndarray,
) -> np.ndarray:
    """Returns scores by which the candidates of each impression are in their new order.

    Args:
        scores: float `[candidates]` of all impressions.
        impressions: The impressions, packed.
        method: `mmr` or `calibrated`.
        trade_off: What the other aim counts.
        vectors: float `[articles, dim]` of titles.
        category: int `[articles]`; 0: none.

    Returns:
        float32 `[candidates]`: places from the end of the list.
    """
    result = np.zeros(len(scores), np.float32)
    splits = impressions.candidate_splits
    for first in range(0, len(impressions), _BLOCK):
        block = splits[first : first + _BLOCK + 1]
        lengths = np.diff(block)
        mask = np.arange(lengths.max()) < lengths[:, np.newaxis]
        padded = np.full(mask.shape, -np.inf)
        padded[mask] = scores[block[0] : block[-1]]
        candidates = np.zeros(mask.shape, int)
        candidates[mask] = impressions.candidate_values[block[0] : block[-1]]
        if method == "mmr":
            places = mmr(padded, vectors[candidates], K, trade_off)
        else:
            clicks = impressions.history_splits[first : first + _BLOCK + 1]
            rows = np.repeat(np.arange(len(lengths)), np.diff(clicks))
            clicked = category[impressions.history_values[clicks[0] : clicks[-1]]]
            shape = len(lengths), int(category.max()) + 1
            wanted = lists.category_shares(rows, clicked, shape)
            places = calibrated(padded, category[candidates], wanted, K, trade_off)
        # Ranks by score, then the chosen ones above all.
        order = np.argsort(np.argsort(padded, axis=1, kind="stable"), axis=1).astype(np.float32)
        chosen_rows, steps = np.nonzero(places >= 0)
        order[chosen_rows, places[chosen_rows, steps]] = mask.shape[1] + K - steps
        result[block[0] : block[-1]] = order[mask]
    return result


def curve(
    scores: np.ndarray,
    impressions: Impressions,
    method: str,
    vectors: np.ndarray,
    category: np.ndarray,
    trade_offs: Sequence[float] = TRADE_OFFS,
) -> Iterator[dict[str, float | None]]:
    """Yields the metrics of each trade-off; the arguments are those of `reranked_scores`."""
    history = impressions.history_values, impressions.history_splits
    splits = impressions.candidate_splits
    for trade_off in trade_offs:
        ranks = reranked_scores(scores, impressions, method, trade_off, vectors, category)
        shown = lists.best_candidates(ranks, impressions.candidate_values, splits, K)
        means = mean_values(impression_values(impressions.clicked, ranks, splits))
        yield {
            "trade-off": trade_off,
            "AUC": means["auc"],
            "nDCG@10": means["ndcg_10"],
            "title diversity": lists.mean(lists.vector_diversity(shown, vectors)),
            "miscalibration": lists.mean(lists.miscalibration(shown, category, *history)),
        }


def plot(path: str, curves: dict[str, list[dict[str, float | None]]]) -> None:
    """Draws metrics against what each method aims at, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    aims = {"mmr": "title diversity", "calibrated": "miscalibration"}
    panels = figure.subplots(2, len(curves), sharex="col", squeeze=False)
    for column, (method, rows) in zip(panels.T, curves.items()):
        aim = aims[method]
        for axes, metric in zip(column, ("AUC", "nDCG@10")):
            axes.plot([row[aim] for row in rows], [row[metric] for row in rows], "o-")
            for row in rows:
                label = f"{row['trade-off']:g}"
                axes.annotate(label, (row[aim], row[metric]), fontsize=7, va="bottom")
            axes.set_ylabel(metric)
        if method == "calibrated":
            axes.invert_xaxis()  # the better, the further to the right
        column[0].set_title(method)
        axes.set_xlabel(f"{aim} of the top {K}")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="folder of a run")
    parser.add_argument("--split", help="default: the split that `train` reports on")
    parser.add_argument("--to", default="trade-off.png", metavar="FILE", help="the picture, PNG")
    options = parser.parse_args()
    run = Run(options.run)
    settings = run.settings
    data = load_mind(settings.data, settings.data_dir, settings.manual_dir, news=settings.news)
    split = options.split or data.report_split
    model, words = run.load_model(), run.baselines.word_vectors
    if words is None:
        parser.error(f"{run.path} holds no word vectors, being of an earlier version")
    model.add_articles(data.titles(split))
    impressions = data.impressions(split, model.catalog, model.users).take(slice(None))
    scores = model_logits(model, impressions)
    vectors = title_vectors(model.catalog, words)
    category, _ = category_indices(data.topics(), model.catalog)
    curves = {
        method: list(curve(scores, impressions, method, vectors, category))
        for method in ("mmr", "calibrated")
    }
    for method, rows in curves.items():
        print(f"{method}\n\n{tabulate(rows, headers='keys', floatfmt='.4f')}\n")
    plot(options.to, curves)
    print(f"{options.to} shows both")


if __name__ == "__main__":
    main()
