"""Explanations, held against preferences that are known: do words stand out that a reader prefers?

Readers and articles are those of `mind/synthetic`, where each reader likes some subjects and names,
and each subject and name has words of its own, its topic words. Of random titles with topic words
of which the reader likes some and others not, it counts how often the one with the most attention
is one that the reader likes, and how often the one that adds most to the score is, next to a topic
word drawn by chance and to the attention of an unknown user. Intervals are 95 %, by the bootstrap
over readers. Of readers in pairs and all titles, it counts how often another word of a title stands
out for the other reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import results_file
from results_file import measurement, table
from tqdm import tqdm

from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.datasets.mind import SyntheticWorld

DATA = "mind/synthetic"
CLICKS = 5
KINDS = ("most attention", "adds most", "most attention of an unknown user", "chance")


def main() -> None:
    parser = results_file.result_parser(__doc__)
    parser.add_argument(
        "--run", required=True, metavar="DIR", help=f"a run on {DATA}, such as runs/demo"
    )
    number: dict[str, Any] = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--readers", default=100, **number)
    parser.add_argument("--titles", default=400, **number)
    args = parser.parse_args()
    if args.readers < 2 or args.titles < 1:
        parser.error("at least 2 readers and 1 title")
    import_tensorflow()
    from tfrs_npa.data.loading import load_mind
    from tfrs_npa.explaining.explainer import Explainer
    from tfrs_npa.runs.run import Run

    run = Run(args.run)
    if run.settings.data != DATA:
        parser.error(f"{args.run} was trained on {run.settings.data}, not on {DATA}")
    data = load_mind(DATA, run.settings.data_dir)
    readers = data.readers(data.report_split, CLICKS, args.readers)
    explainer = Explainer.of_model(run.load_model())
    histories = data.latest_histories(readers)
    found = standing_out(explainer, SyntheticWorld(), histories, args.titles)
    results_file.report(args.json, "Explanations", __doc__, *found)


def standing_out(
    explainer, world: SyntheticWorld, histories: Mapping[str, Sequence[str]], titles: int
) -> tuple[list[dict], list[dict]]:
    """Returns tables and measurements.

    Args:
        explainer: An `Explainer` of the articles of the world.
        world: The world.
        histories: By reader, ids of clicked articles.
        titles: Number of titles.
    """
    from tfrs_npa.explaining.report import word_effects
    from tfrs_npa.metrics.significance import mean_interval

    articles = np.random.default_rng(0).choice(explainer.ids, titles, replace=False).tolist()
    unknown, words = attention(explainer, "", [], articles)
    topics = world.topic_words()
    places = [[i for i, word in enumerate(title) if word in topics] for title in words]
    shares: dict[str, list[float]] = {kind: [] for kind in KINDS}
    tops = []
    for user, history in tqdm(histories.items(), unit=" readers", disable=None):
        weights, _ = attention(explainer, user, history, articles)
        effects = word_effects(explainer, user, history, words)
        tops.append(
            [[int(np.argmax(of)) for of in found if len(of)] for found in (weights, effects)]
        )
        preferred = world.preferred_words(user)
        liked = [[title[i] in preferred for i in of] for title, of in zip(words, places)]
        mixed = [number for number, of in enumerate(liked) if any(of) and not all(of)]
        if not mixed:
            continue
        for kind, found in zip(KINDS, (weights, effects, unknown)):
            hits = [liked[n][int(np.argmax([found[n][i] for i in places[n]]))] for n in mixed]
            shares[kind].append(float(np.mean(hits)))
        shares["chance"].append(float(np.mean([np.mean(liked[n]) for n in mixed])))
    pairs = np.array(tops)[: len(tops) // 2 * 2].reshape(-1, 2, 2, len(tops[0][0]))
    differ = np.mean(pairs[:, 0] != pairs[:, 1], axis=(0, 2))
    rows = []
    for kind, other in zip(KINDS, [*(f"{100 * share:.0f} %" for share in differ), "", ""]):
        low, high = 100 * mean_interval(np.array(shares[kind]))
        mean = 100 * np.mean(shares[kind])
        rows.append([kind, f"{mean:.1f} %", f"{low:.1f} to {high:.1f} %", other])
    headers = ["topic word with", "liked by the reader", "interval", "another for another reader"]
    means = {kind: float(np.mean(values)) for kind, values in shares.items()}
    ratios = [
        measurement(
            f"topic words that a reader likes, {kind} / chance", means[kind] / means["chance"]
        )
        for kind in KINDS[:-1]
    ]
    title = f"Words of {titles:,} titles for {len(shares['chance']):,} readers"
    return [table(title, headers, rows)], ratios


def attention(
    explainer, user: str, history: Sequence[str], articles: Sequence[str]
) -> tuple[list[np.ndarray], list[list[str]]]:
    """Returns the weights of the words of each title, and the words."""
    found = explainer.explain(user, [history], articles)
    words = [[word for word in title if word] for title in found["candidate_words"][0]]
    weights = found["candidate_word_weights"][0]
    return [row[: len(title)] for row, title in zip(weights, words)], words


if __name__ == "__main__":
    main()
