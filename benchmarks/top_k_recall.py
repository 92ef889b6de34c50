"""How much of the exact top 10 the two stages, and rounded words, find with a trained model.

Users are those of impressions of the validation split, drawn at random, with their histories; the
articles are those that the run knows. Recall is the share of the exact top 10 that is found, a mean
over users: all, known from training, and new. The vectors of the first stage are those that a new
user sees, so for new users nothing can be missed. Nor can anything be by words in bfloat16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import results_file
from results_file import show, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.runs.run import Run

if TYPE_CHECKING:
    import tensorflow as tf

K = 10


def main() -> None:
    parser = results_file.result_parser(__doc__)
    parser.add_argument("--run", required=True, metavar="DIR", help="run of `tfrs-npa train`")
    parser.add_argument("--users", type=int, default=256, help="default: %(default)s")
    lengths = {"metavar": "N", "help": "lengths of the shortlist (default: 50 100 200 500 1000)"}
    parser.add_argument(
        "--shortlists", type=int, nargs="+", default=[50, 100, 200, 500, 1000], **lengths
    )
    args = parser.parse_args()

    import_tensorflow()
    model, settings = tfrs_npa.load_run(args.run), Run(args.run).settings
    data = tfrs_npa.load_mind(settings.data, settings.data_dir, settings.manual_dir)
    queries = drawn(data.behaviors["validation"], args.users)
    recalls = measure(model, queries, args.shortlists)
    show(recalls)
    results_file.write(
        args.json,
        title=f"Top K: recall with a model trained on {settings.data}",
        about=results_file.about(__doc__),
        command="python benchmarks/top_k_recall.py --run RUN",
        tables=[recalls],
    )


def drawn(behaviors: tf.data.Dataset, users: int) -> dict[str, list]:
    """Returns queries of impressions, drawn without replacement."""
    rows = behaviors.map(lambda row: (row["user_id"], row["history"]))
    rows = list(rows.as_numpy_iterator())
    chosen = np.random.default_rng(0).choice(len(rows), min(users, len(rows)), replace=False)
    ids, histories = zip(*(rows[row] for row in chosen), strict=True)
    return {"user_id": list(ids), "history": [list(history) for history in histories]}


def measure(model: tfrs_npa.NPA, queries: dict[str, list], lengths: list[int]) -> dict:
    """Returns the table of recalls."""
    exact = tfrs_npa.PersonalizedTopK(model, K).index()
    half = tfrs_npa.PersonalizedTopK(model, K, "bfloat16").index()
    _, best = exact(queries)
    known = model.users.index(queries["user_id"]) > 0

    def recalls(index):
        pairs = zip(index(queries)[1].numpy(), best.numpy(), strict=True)
        found = np.array([len(set(ours) & set(exact)) / K for ours, exact in pairs])
        groups = (found, found[known], found[~known])
        return [f"{group.mean():.3f}" if len(group) else "" for group in groups]

    rows = [["PersonalizedTopK, bfloat16", *recalls(half)]]
    for length in lengths:
        if length < exact.num_articles:
            index = tfrs_npa.TwoStageTopK(model, K, length).index()
            rows.append([f"TwoStageTopK, {length:,} ranked", *recalls(index)])
    title = f"Recall@{K} of {exact.num_articles:,} articles, {len(known):,} users"
    headers = ["", "all users", f"{known.sum():,} known", f"{(~known).sum():,} new"]
    return table(title, headers, rows)


if __name__ == "__main__":
    main()
