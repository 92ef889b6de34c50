"""Time to quality beside Microsoft Recommenders: CPU seconds until a model is as good as it gets.

One run, one world that nothing was tuned on, the same pretrained word vectors. Recommenders trains
its `NPAModel` with its npa.yaml; ours trains preset "small" and `NPAConfig()`, as `tfrs-npa train`
does, and preset "small" without pretrained vectors as well. One side after the other trains for the
same epochs, and is evaluated before the first and several times in each. Its best checkpoint is
that with the best AUC on the validation impressions. What counts is the AUC on the test
impressions; its 95 % interval is that of the bootstrap over impressions.

CPU seconds are those of training on all cores, with the tracing of the first step, but without
reading files, building models and evaluation. Recommenders' own evaluation takes hundreds of times
as long as ours. So its weights are read into the same model of ours, preset "recommenders", and
evaluated there: scores agree to 1e-6. The cosine and the density ratio of title vectors need no
training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import results_file
from against_recommenders import recommenders_environment
from results_file import measurement, table

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.scripts import at_least_one, non_negative

if TYPE_CHECKING:
    from tfrs_npa.data.splits import Splits

WORLD_SEED = 104
DIM = 300
"""Dimensions of the word vectors."""
THEIRS = "recommenders"
WITHOUT_VECTORS = "small-none"
TITLES = {
    THEIRS: "Recommenders",
    "small": "ours, small",
    WITHOUT_VECTORS: "ours, small, no vectors",
    "full": "ours, full",
}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model during its training.

    Attributes:
        epochs, steps, rows, cpu_seconds: Training until there.
        val_auc: Mean AUC of the validation impressions.
        test_auc: AUC of each test impression that has one, `[impressions]`.
    """

    epochs: float
    steps: int
    rows: int
    cpu_seconds: float
    val_auc: float
    test_auc: np.ndarray


class Ours:
    """A training with tfrs_npa, in pieces.

    Args:
        config: Hyper-parameters.
        catalog: The articles, with the word vectors.
        splits: The impressions.
        epochs: Epochs over which the learning rate decays.

    Attributes:
        epoch_steps: Steps of an epoch.
        model: The model.
    """

    def __init__(self, config, catalog: tfrs_npa.NewsCatalog, splits: Splits, epochs: int):
        import tensorflow as tf

        from tfrs_npa.data.batches import row_batches
        from tfrs_npa.data.sampling import TrainingRows

        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(config.seed)
        self._splits, self._rows, self._steps = splits, TrainingRows(splits.train, config), 0
        self.epoch_steps = self._rows.steps
        self.model = tfrs_npa.NPA(config, catalog, splits.users)
        total_steps = self.epoch_steps * epochs
        self.model.compile(optimizer=tfrs_npa.default_optimizer(config, total_steps))
        # `fit` would start another pass each time.
        self._batches = iter(row_batches(self._rows).repeat())

    def train(self, steps: int) -> tuple[float, int]:
        """Takes the next steps; returns their CPU seconds and rows."""
        started, rows = time.process_time(), self._rows_seen()
        train = self.model.make_train_function()
        for _ in range(steps):
            loss = train(self._batches)["loss"]
        loss.numpy()  # waits for it
        self._steps += steps
        return time.process_time() - started, self._rows_seen() - rows

    def aucs(self) -> tuple[float, np.ndarray]:
        """Returns `val_auc` and `test_auc` of a `Checkpoint`."""
        return evaluated(self.model, self._splits)

    def _rows_seen(self):
        passes, rest = divmod(self._steps, self.epoch_steps)
        return passes * len(self._rows) + rest * self._rows.config.batch_size


class Theirs:
    """A training with Microsoft Recommenders, in pieces, evaluated with tfrs_npa.

    Args:
        worker: A `recommenders_environment.Worker` on `folder`.
        folder: The folder of `write_their_files`.
        catalog, splits: As of `Ours`.

    Attributes, methods: As of `Ours`; `model` has the weights of the last evaluation.
    """

    def __init__(self, worker, folder: pathlib.Path, catalog, splits: Splits):
        from against_recommenders.demo_sized_data import TITLE_LENGTH

        config = tfrs_npa.NPAConfig.from_yaml(folder / f"npa_{TITLE_LENGTH}.yaml")
        self._worker, self._splits = worker, splits
        self._saved = folder / "saved"
        self._saved.mkdir(exist_ok=True)
        self.model = tfrs_npa.NPA(config, catalog, splits.users)
        self.model.compile()
        # Theirs makes a row of each click.
        clicks = np.count_nonzero(splits.train.take(slice(None)).clicked == 1)
        self.epoch_steps = -(-clicks // config.batch_size)

    def train(self, steps: int) -> tuple[float, int]:
        answer = self._worker("continue_training", steps=steps)
        return answer["cpu_seconds"], answer["rows"]

    def aucs(self) -> tuple[float, np.ndarray]:
        from against_recommenders.demo_sized_data import read_weights

        self._worker("save", path=str(self._saved / "weights.npz"))
        tfrs_npa.load_recommenders_weights(self.model, read_weights(self._saved))
        return evaluated(self.model, self._splits)


def write_their_files(folder: pathlib.Path, catalog, users: tfrs_npa.UserIndex) -> None:
    """Writes what Recommenders reads besides MIND's files, into the folder of the world.

    Words and users are those of the catalogue and the user index, in their order. As in
    Recommenders' own preparation of MIND, words without a vector start at zero.
    """
    from against_recommenders import demo_sized_data

    vocabulary, vectors = catalog.vocabulary, catalog.word_vectors
    words = vocabulary.words[len(vocabulary.specials) :]
    demo_sized_data.write_yaml(folder, demo_sized_data.TITLE_LENGTH)
    demo_sized_data.write_dictionaries(folder, words, users.ids[len(users.specials) :])
    rows = {row: word for row, word in enumerate(words, 1) if word in vectors}
    embedding = np.zeros((1 + len(words), vectors.dim), np.float32)
    embedding[list(rows)] = vectors.matrix(rows.values(), seed=0)
    np.save(folder / "embedding.npy", embedding)


def evaluated(model: tfrs_npa.NPA, splits) -> tuple[float, np.ndarray]:
    """Returns `val_auc` and `test_auc` of a `Checkpoint`."""
    from tfrs_npa.runs.evaluation import model_values

    val_auc = scored_aucs(model_values(model, splits.validation)).mean()
    return float(val_auc), scored_aucs(model_values(model, splits.test))


def scored_aucs(values: Mapping[str, np.ndarray]) -> np.ndarray:
    return values["auc"][values["scored"]].astype(np.float64)


def curve(side: Ours | Theirs, title: str, epochs: int, per_epoch: int) -> list[Checkpoint]:
    """Trains a side; returns its checkpoints, the untrained model first.

    Args:
        side: The side.
        title: Its name in messages.
        epochs: Epochs to train.
        per_epoch: Checkpoints in each of them.
    """
    found: list[Checkpoint] = []
    steps = rows = 0
    cpu_seconds = 0.0
    for number in range(epochs * per_epoch + 1):
        end = round(number * side.epoch_steps / per_epoch)
        if end > steps:
            more_seconds, more_rows = side.train(end - steps)
            steps, rows, cpu_seconds = end, rows + more_rows, cpu_seconds + more_seconds
        found.append(Checkpoint(number / per_epoch, steps, rows, cpu_seconds, *side.aucs()))
        print(
            f"{title}: epoch {number / per_epoch:g} of {epochs}, {cpu_seconds:,.1f} CPU seconds, "
            f"validation AUC {found[-1].val_auc:.4f}, test {found[-1].test_auc.mean():.4f}",
            file=sys.stderr,
            flush=True,
        )
    return found


def best(points: Sequence[Checkpoint]) -> Checkpoint:
    """Returns the first checkpoint with the best validation AUC."""
    return max(points, key=lambda point: point.val_auc)


def seconds_to(points: Sequence[Checkpoint], val_auc: float) -> float | None:
    """Returns the CPU seconds until a validation AUC was first reached; None: never."""
    return next((point.cpu_seconds for point in points if point.val_auc >= val_auc), None)


def describe(
    curves: Mapping[str, Sequence[Checkpoint]], baselines: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Returns the tables and measurements of a file of results.

    Args:
        curves: Checkpoints by side.
        baselines: AUC of each test impression that has one by title, `[impressions]`.
    """
    bests = {name: best(points) for name, points in curves.items()}
    theirs = bests.get(THEIRS)
    rows, measurements = [], []
    for name, top in bests.items():
        reached = None if theirs is None else seconds_to(curves[name], theirs.val_auc)
        cells = [f"{top.val_auc:.4f}", *_training(top), *_mean_and_interval(top.test_auc)]
        rows.append([TITLES[name], *cells, "-" if reached is None else f"{reached:,.1f}"])
        if theirs is None or name == THEIRS:
            continue
        difference = float(top.test_auc.mean() - theirs.test_auc.mean())
        title = f"AUC at its best, less Recommenders' at its best ({name})"
        measurements.append(measurement(title, difference, target=0.0))
        # Without a second of training there is no ratio.
        if reached and theirs.cpu_seconds:
            title = f"CPU seconds to Recommenders' best AUC: Recommenders / ours ({name})"
            ratio = theirs.cpu_seconds / reached
            measurements.append(measurement(title, ratio, compared=True))
    if WITHOUT_VECTORS in bests:
        seconds = bests[WITHOUT_VECTORS].cpu_seconds
        title = f"CPU seconds to the best AUC ({WITHOUT_VECTORS})"
        measurements.append(measurement(title, seconds, at_most=60.0))
    for title, aucs in baselines.items():
        rows.append([title, *[""] * 5, *_mean_and_interval(aucs), ""])
    training = ["epochs", "steps", "rows", "CPU s"]
    headers = ["", "best validation AUC", *training, "test AUC", "95 %"]
    checkpoints = [
        [TITLES[name], *_training(point), f"{point.val_auc:.4f}", f"{point.test_auc.mean():.4f}"]
        for name, points in curves.items()
        for point in points
    ]
    last = "CPU s to Recommenders' best validation AUC"
    tables = [
        table("The best checkpoint of each side", [*headers, last], rows),
        table("All checkpoints", ["", *training, "validation AUC", "test AUC"], checkpoints),
    ]
    return {"tables": tables, "measurements": measurements}


def _training(point: Checkpoint) -> list[str]:
    seconds = f"{point.cpu_seconds:,.1f}"
    return [f"{point.epochs:g}", f"{point.steps:,}", f"{point.rows:,}", seconds]


def _mean_and_interval(aucs: np.ndarray) -> list[str]:
    from tfrs_npa.metrics.significance import mean_interval

    low, high = mean_interval(aucs)
    return [f"{aucs.mean():.4f}", f"{low:.4f} to {high:.4f}"]


def plot(
    curves: Mapping[str, Sequence[Checkpoint]], cosine: np.ndarray, path: pathlib.Path
) -> None:
    """Plots the test AUC over the CPU seconds, with a star at the best checkpoint of each side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        seconds = [point.cpu_seconds for point in points]
        aucs = [point.test_auc.mean() for point in points]
        (line,) = axes.plot(seconds, aucs, "o-", markersize=4, label=TITLES[name])
        top = best(points)
        place = [top.cpu_seconds], [top.test_auc.mean()]
        axes.plot(*place, "*", markersize=14, color=line.get_color(), clip_on=False)
    axes.axhline(cosine.mean(), linestyle=":", color="grey", label="cosine, without training")
    trained = [point.cpu_seconds for points in curves.values() for point in points[1:]]
    axes.set_xscale("symlog", linthresh=min(trained))
    axes.set_xlim(left=0)
    axes.set_xlabel("CPU seconds of training, logarithmic after the first checkpoint")
    axes.set_ylabel("AUC of the test impressions")
    axes.legend(frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def baseline_aucs(catalog: tfrs_npa.NewsCatalog, splits: Splits) -> dict[str, np.ndarray]:
    """Returns the AUCs of the test impressions, as `scored_aucs`, of the baselines by title."""
    from tfrs_npa.runs.baselines import Baselines
    from tfrs_npa.runs.evaluation import baseline_values

    baselines = Baselines.of_training(splits.train, catalog, DIM)
    values = baseline_values(baselines, splits.test, catalog)
    names = ("cosine", "density_ratio")
    return {name.replace("_", " "): scored_aucs(values[name]) for name in names}


def config_of(name: str, seed: int) -> tfrs_npa.NPAConfig:
    """Returns the configuration of a side of ours."""
    config = tfrs_npa.NPAConfig() if name == "full" else tfrs_npa.NPAConfig.preset("small")
    if name != WITHOUT_VECTORS:
        config = config.replace(word_embedding_dim=DIM)
    return config.replace(seed=seed)


def main() -> None:
    parser = results_file.result_parser(__doc__)
    default = "(default: %(default)s)"
    sides = {"nargs": "+", "choices": TITLES, "default": list(TITLES)}
    parser.add_argument("--sides", **sides, help="(default: all)")
    parser.add_argument("--epochs", type=at_least_one, default=2, help=default)
    about = f"evaluations in an epoch {default}"
    parser.add_argument("--checkpoints", type=at_least_one, default=2, help=about)
    parser.add_argument("--seed", type=non_negative, default=1, help=f"of the trainings {default}")
    parser.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="also plot the results")
    sizes = parser.add_argument_group("size of the world")
    sizes.add_argument("--users", type=int, default=5_000, help=default)
    sizes.add_argument("--articles", type=int, default=26_000, help=default)
    numbers = {"nargs": 3, "metavar": ("TRAIN", "VALID", "TEST"), "default": [20_000, 4_000, 4_000]}
    sizes.add_argument("--impressions", type=int, **numbers, help="(default: 20000 4000 4000)")
    recommenders_environment.add_options(parser)
    args = parser.parse_args()
    if THEIRS in args.sides:
        try:
            interpreter = recommenders_environment.prepare(
                args.recommenders_venv, args.recommenders_python
            )
        except (RuntimeError, subprocess.CalledProcessError) as error:
            sys.exit(str(error))
    import_tensorflow()
    from against_recommenders.demo_sized_data import TITLE_LENGTH

    from tfrs_npa.data.splits import load_splits
    from tfrs_npa.datasets.mind import SyntheticWorld
    from tfrs_npa.settings import DataSettings

    curves, versions = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        print("writing the world", file=sys.stderr)
        size = {"users": args.users, "articles": args.articles}
        world = SyntheticWorld(seed=WORLD_SEED, impressions=tuple(args.impressions), **size)
        world.write(path, word_vector_dim=DIM)
        vectors = str(path / "word_vectors.txt")
        catalog, splits = load_splits(DataSettings(folder, word_vectors=vectors))
        for name in dict.fromkeys(args.sides):
            with contextlib.ExitStack() as stack:
                side: Ours | Theirs
                if name == THEIRS:
                    write_their_files(path, catalog, splits.users)
                    worker = recommenders_environment.Worker(
                        interpreter, path, TITLE_LENGTH, seed=args.seed
                    )
                    versions = {"recommenders": stack.enter_context(worker)("versions")}
                    side = Theirs(worker, path, catalog, splits)
                else:
                    data = catalog, splits
                    if name == WITHOUT_VECTORS:
                        data = load_splits(DataSettings(folder))
                    side = Ours(config_of(name, args.seed), *data, args.epochs)
                curves[name] = curve(side, TITLES[name], args.epochs, args.checkpoints)
        baselines = baseline_aucs(catalog, splits)
    described = describe(curves, baselines)
    for shown in described["tables"]:
        results_file.show(shown)
    if args.plot is not None:
        plot(curves, baselines["cosine"], args.plot)
    train, valid, test = args.impressions
    results_file.write(
        args.json,
        title="Time to quality beside Microsoft Recommenders",
        about=(
            f"{results_file.about(__doc__)} {train:,} impressions to train on, {valid:,} to "
            f"validate and {test:,} to test; seed {args.seed}."
        ),
        versions=versions,
        **described,
    )


if __name__ == "__main__":
    main()
