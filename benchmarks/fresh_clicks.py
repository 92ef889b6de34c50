"""AUC when users have clicked articles that are newer than the model's catalogue.

A run of `tfrs-npa train`, evaluated on the impressions of a split, with the latest half of each
history made unknown. "known" reads all clicks; "left out" is `unknown_articles="left_out"`;
"untitled" counts them as articles with an empty title. 95 % intervals by the bootstrap over
impressions, and of the differences from "left out".
"""

from __future__ import annotations

import dataclasses

import numpy as np
import results_file
from results_file import show, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.runs.run import Run


def main() -> None:
    parser = results_file.result_parser(__doc__)
    parser.add_argument("--run", required=True, metavar="DIR", help="run of `tfrs-npa train`")
    parser.add_argument("--split", default="test", help="with labels (default: %(default)s)")
    args = parser.parse_args()

    import_tensorflow()
    from tfrs_npa.metrics.significance import compare, mean_interval

    model, settings = tfrs_npa.load_run(args.run), Run(args.run).settings
    data = tfrs_npa.load_mind(settings.data, settings.data_dir, settings.manual_dir)
    impressions = tfrs_npa.Impressions.from_dataset(
        data.behaviors[args.split], model.catalog, model.users
    )
    fresh = with_fresh_clicks(impressions)
    values = {
        "known": metrics_of(model, impressions),
        "left out": metrics_of(model, fresh, "left_out"),
        "untitled": metrics_of(model, fresh, "untitled"),
    }
    rows = []
    for name, found in values.items():
        auc = found["auc"][found["scored"]]
        lower, upper = mean_interval(auc)
        cells = [name, f"{auc.mean():.4f}", f"{lower:.4f} to {upper:.4f}", ""]
        if name != "left out":
            lower, upper = compare(found, values["left out"], ["auc"])["intervals"]["auc"]
            cells[-1] = f"{lower:+.4f} to {upper:+.4f}"
        rows.append(cells)
    title = f"{settings.data}, {args.split}, {len(impressions):,} impressions, half of the clicks"
    headers = ["clicks on unknown articles", "AUC", "95 %", "difference from left out, 95 %"]
    result = table(title, headers, rows)
    show(result)
    results_file.write(
        args.json, title="Fresh clicks", about=results_file.about(__doc__), tables=[result]
    )


def with_fresh_clicks(impressions: tfrs_npa.Impressions) -> tfrs_npa.Impressions:
    """Returns impressions whose latest clicks, half of each history, are of unknown articles."""
    from tfrs_npa.data.catalog import UNKNOWN_ARTICLE

    starts, ends = impressions.history_splits[:-1], impressions.history_splits[1:]
    lengths = ends - starts
    places = np.arange(len(impressions.history_values)) - np.repeat(starts, lengths)
    is_fresh = 2 * places >= np.repeat(lengths, lengths)
    values = np.where(is_fresh, np.int32(UNKNOWN_ARTICLE), impressions.history_values)
    return dataclasses.replace(impressions, history_values=values)


def metrics_of(
    model: tfrs_npa.NPA, impressions: tfrs_npa.Impressions, unknown_articles: str = "left_out"
) -> dict[str, np.ndarray]:
    """Returns the metrics of each impression, see `impression_values`."""
    from tfrs_npa.metrics.impression_values import impression_values
    from tfrs_npa.runs.evaluation import model_logits

    config = model.config.replace(unknown_articles=unknown_articles)
    other = tfrs_npa.NPA(config, model.catalog, model.users)
    other.set_weights(model.get_weights())
    logits = model_logits(other, impressions)
    return impression_values(impressions.clicked, logits, impressions.candidate_splits)


if __name__ == "__main__":
    main()
