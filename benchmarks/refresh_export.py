"""A refresh of an export: seconds until the next version is there.

New articles beside those of an export, with made-up titles of 11 words on average by Zipf's law, at
the dimensions of `preset("small")` and of `NPAConfig()`. Each refresh is in a process of its own;
only its import of the package is not counted. Beside it, the export from scratch.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time

import made_up_data
import numpy as np
import results_file
from results_file import measurement, show, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

MOST_SECONDS = 5
_REFRESH = """
import json, sys, time
import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow
import_tensorflow()
refresh = tfrs_npa.refresh_export
news = json.load(sys.stdin)
started = time.perf_counter()
refresh(sys.argv[1], news)
print(time.perf_counter() - started)
"""


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--articles", default=100_000, **number)
    parser.add_argument("--new", default=10_000, **number)
    parser.add_argument("--times", default=5, **number)
    parser.add_argument("--only-small", action="store_true", help='only preset("small")')
    args = parser.parse_args()
    if min(args.articles, args.new, args.times) < 1:
        parser.error("at least 1 of everything")

    import_tensorflow()
    configs = {"small": tfrs_npa.NPAConfig.preset("small")}
    if not args.only_small:
        configs["full"] = tfrs_npa.NPAConfig()
    rows, measurements = [], []
    for name, config in configs.items():
        exported, refreshed, written = measure(config, args.articles, args.new, args.times)
        seconds = float(np.median(refreshed))
        shown = [f"{value:.1f}" for value in (exported, seconds, max(refreshed))]
        rows.append([name, *shown, f"{written / 1e6:,.0f}"])
        what = f"refresh of an export, {args.new:,} articles beside {args.articles:,}, s ({name})"
        bound = {"at_most": MOST_SECONDS} if name == "small" else {}
        measurements.append(measurement(what, seconds, **bound))
    title = f"{args.new:,} new articles beside {args.articles:,}"
    headers = ["dimensions", "export, s", "refresh, s", "slowest, s", "refresh writes, MB"]
    result = table(title, headers, rows)
    show(result)
    results_file.write(
        args.json,
        title="Refresh of an export",
        about=results_file.about(__doc__),
        tables=[result],
        measurements=measurements,
    )


def measure(
    config: tfrs_npa.NPAConfig, articles: int, new: int, times: int
) -> tuple[float, list[float], int]:
    """Exports a model and refreshes the export.

    Returns:
        Seconds of the export; seconds of the refreshes, each of the same version; and bytes that a
        refresh writes.
    """
    news = made_up_data.news_columns(articles + new)
    first = {name: column[:articles] for name, column in news.items()}
    later = {name: column[articles:] for name, column in news.items()}
    catalog = tfrs_npa.NewsCatalog().adapt(first)
    users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(1000))
    model = tfrs_npa.NPA(config.replace(word_initializer="normal"), catalog, users)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        version = tfrs_npa.export(model, folder)
        exported, refreshed = time.perf_counter() - started, []
        for _ in range(times):
            refreshed.append(_refresh(folder, later))
            latest = version.with_name("2")
            files = [path.stat() for path in latest.rglob("*") if path.is_file()]
            written = sum(file.st_size for file in files if file.st_nlink == 1)
            shutil.rmtree(latest)
        return exported, refreshed, written


def _refresh(folder: str, news: dict[str, list[str]]) -> float:
    command = [sys.executable, "-c", _REFRESH, folder]
    process = subprocess.run(
        command, input=json.dumps(news), stdout=subprocess.PIPE, text=True, check=True
    )
    return float(process.stdout.split()[-1])


if __name__ == "__main__":
    main()
