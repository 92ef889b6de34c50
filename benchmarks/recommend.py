"""The first answer of `tfrs-npa recommend`: CPU seconds, without the import.

Each call is in a process of its own, which imports TensorFlow and the package first; CPU seconds
are of all threads, from then to the answer: reading the run, encoding all its titles, and the top
10 for one user with 25 clicks. In turn as the command works, which traces nothing, and with every
function traced, as it did before. Results are medians, and `ratio` is that of the medians.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

import made_up_data
import numpy as np
import results_file
from results_file import measurement, show, table
from tqdm import tqdm

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow

CLICKS, KNOWN_USERS = 25, 1000
MODELS = {
    "small": lambda: tfrs_npa.NPAConfig.preset("small"),
    "recipe": tfrs_npa.NPAConfig,
    "recommenders": lambda: tfrs_npa.NPAConfig.preset("recommenders"),
}
_CALL = """
import contextlib, resource, sys
from tfrs_npa.cli.messages import import_tensorflow
import_tensorflow()
import tfrs_npa.cli.recommend, tfrs_npa.retrieval.personalized_top_k, tfrs_npa.runs.run
if sys.argv.pop(1) == "traced":
    tfrs_npa.cli.recommend._eagerly = contextlib.nullcontext
def seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before = seconds()
tfrs_npa.cli.main(sys.argv[1:])
print(seconds() - before)
"""


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--articles", default=25_000, **number)
    parser.add_argument("--times", default=3, **number)
    args = parser.parse_args()
    if args.articles < CLICKS or args.times < 1:
        parser.error(f"at least {CLICKS} --articles, and 1 of --times")

    import_tensorflow()
    rows, measurements = [], []
    for name in args.models:
        traced, eager = measure(MODELS[name](), args.articles, args.times)
        rows.append([name, f"{traced:.1f}", f"{eager:.1f}", f"{eager / traced:.2f}"])
        what = f"recommend, CPU s, as it is / traced ({name})"
        measurements.append(measurement(what, eager / traced, at_most=0.7))
    title = f"tfrs-npa recommend, {args.articles:,} articles, CPU seconds"
    shown = table(title, ["", "traced", "as it is", "ratio"], rows)
    show(shown)
    results_file.write(
        args.json,
        title="First answer of recommend",
        about=results_file.about(__doc__),
        tables=[shown],
        measurements=measurements,
    )


def measure(config: tfrs_npa.NPAConfig, articles: int, times: int) -> tuple[float, float]:
    """Returns CPU seconds of the command for a model with made-up weights: traced, and as it is."""
    from tfrs_npa.runs.baselines import Baselines
    from tfrs_npa.runs.run import Run
    from tfrs_npa.settings import TrainingSettings

    catalog = tfrs_npa.NewsCatalog().adapt(made_up_data.news_columns(articles))
    users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(KNOWN_USERS))
    model = tfrs_npa.NPA(config.replace(word_initializer="normal"), catalog, users)
    model.compile(optimizer=tfrs_npa.default_optimizer(model.config, 1))
    history = ",".join(catalog.ids[2 : 2 + CLICKS])
    found: dict[str, list[float]] = {"traced": [], "eager": []}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/run"
        Run.create(path, model, TrainingSettings("mind/synthetic"), Baselines({}))
        options = ["recommend", "--run", path, "--user", "U1", "--history", history]
        for _ in tqdm(range(times), leave=False, disable=None, file=sys.stderr):
            for way, seconds in found.items():
                command = [sys.executable, "-c", _CALL, way, *options]
                process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                seconds.append(float(process.stdout.split()[-1]))
    return float(np.median(found["traced"])), float(np.median(found["eager"]))


if __name__ == "__main__":
    main()
