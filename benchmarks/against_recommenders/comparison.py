"""What the comparison with Microsoft Recommenders measures."""

from __future__ import annotations

import argparse
import dataclasses
import math
import pathlib
import pickle
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf
from against_recommenders import demo_sized_data, matrix_product, training_flops
from against_recommenders.recommenders_environment import Worker
from tqdm import tqdm

import tfrs_npa
from tfrs_npa.runs.precision import computing_in

THEIRS, PRESET, RECIPE = "Recommenders", "ours, preset", "ours, recipe"
# The same, trained by `--precision bfloat16`.
PRESET_BFLOAT16, RECIPE_BFLOAT16 = (f"{system}, bfloat16" for system in (PRESET, RECIPE))
TRAINED = (PRESET, RECIPE, PRESET_BFLOAT16, RECIPE_BFLOAT16)
TRAINING, EVALUATION, PEAK = "training", "evaluation", "matrix product"
# What "the same dimensions" means.
DIMENSIONS = (
    "title_length",
    "history_length",
    "word_embedding_dim",
    "user_embedding_dim",
    "num_filters",
    "window_size",
    "attention_dim",
    "negatives_per_positive",
)


@dataclasses.dataclass
class Case:
    """A task of a system, measured in every round.

    Attributes:
        task: `TRAINING`, `EVALUATION` or `PEAK`.
        system: `THEIRS`, one of `TRAINED`, or `""` for the machine itself.
        run: Does the task with a number of steps; returns seconds, and the number of rows,
            candidates or 10^9 operations.
        title_length: Words of a title.
        batch_size: Training rows of a step.
        most_steps: Upper bound of `steps`.
        steps: Steps of `run` in each round.
        first_call_seconds: Duration of the first call, of one step, tracing included.
        rates: Rows, candidates or 10^9 operations per second, by round.
    """

    task: str
    system: str
    run: Callable[[int], tuple[float, float]]
    title_length: int = 0
    batch_size: int = 0
    most_steps: int = 1
    steps: int = 1
    first_call_seconds: float = math.nan
    rates: list[float] = dataclasses.field(default_factory=list)

    def call_first(self) -> None:
        self.first_call_seconds = self.run(1)[0]

    def warm_up(self, seconds: float) -> None:
        """Chooses the number of steps, and runs them once."""
        if self.most_steps > 1:
            one_step = self.run(2)[0] / 2
            self.steps = min(self.most_steps, max(1, round(seconds / one_step)))
        self.run(self.steps)

    def measure(self) -> None:
        seconds, amount = self.run(self.steps)
        self.rates.append(amount / seconds)

    @property
    def rate(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.rates)


class Data:
    """The folder of `demo_sized_data`, loaded by tfrs_npa.

    Attributes:
        catalog, users: Words and users in the order of Recommenders' dictionaries.
        train, valid, scored: `tfrs_npa.Impressions`.
        reading_seconds: Duration of loading.
    """

    def __init__(self, folder: pathlib.Path):
        start = time.perf_counter()
        data = tfrs_npa.load_mind(folder)
        words = pickle.loads((folder / "word_dict.pkl").read_bytes())
        vocabulary = tfrs_npa.Vocabulary.from_words(sorted(words, key=words.get), "mind")
        self.catalog = tfrs_npa.NewsCatalog(vocabulary=vocabulary)
        self.catalog.extend(data.news["train"]).extend(data.news["validation"])
        self.users = tfrs_npa.UserIndex().adapt(data.behaviors["train"])
        self.train, self.valid = (
            tfrs_npa.Impressions.from_dataset(data.behaviors[split], self.catalog, self.users)
            for split in ("train", "validation")
        )
        self.reading_seconds = time.perf_counter() - start
        with (folder / "scored" / "behaviors.tsv").open(encoding="utf-8") as file:
            self.scored = self.valid.take(slice(sum(1 for _ in file)))


class Ours:
    """One model of tfrs_npa on the data, used as a user would."""

    def __init__(self, config: tfrs_npa.NPAConfig, data: Data, evaluation_batch_size: int):
        self.config = config
        self._data = data
        self._evaluation_batch_size = evaluation_batch_size
        self.model = tfrs_npa.NPA(config, data.catalog, data.users)
        self.model.compile(optimizer=tfrs_npa.default_optimizer(config))
        self._valid = self.impressions(data.valid)

    def batches(self, batch_size: int) -> tf.data.Dataset:
        config = self.config.replace(batch_size=batch_size)
        return tfrs_npa.training_batches(
            self._data.train, self._data.catalog, self._data.users, config
        )

    def training(self, batch_size: int) -> Callable[[int], tuple[float, float]]:
        batches = self.batches(batch_size)

        def run(steps: int) -> tuple[float, float]:
            start = time.perf_counter()
            self.model.fit(batches, steps_per_epoch=steps, verbose=0)
            return time.perf_counter() - start, steps * batch_size

        return run

    def evaluation(self, _: int) -> tuple[float, float]:
        start = time.perf_counter()
        self.model.evaluate(self._valid, verbose=0)
        return time.perf_counter() - start, int(self._data.valid.candidate_splits[-1])

    def scored(self) -> tuple[np.ndarray, dict[str, float]]:
        """Returns the probabilities of a click of `scored`, `[candidates]`, and its metrics."""
        batches = self.impressions(self._data.scored)
        logits = self.model.predict(batches, verbose=0).flat_values.numpy().astype(np.float64)
        metrics = self.model.evaluate(batches, verbose=0, return_dict=True)
        return 1 / (1 + np.exp(-logits)), metrics

    def packed_flops(self, batch_size: int, batches: int = 8) -> float:
        """Mean over some batches of `training_flops.packed`."""
        tokens = self._data.catalog.tokens(self.config.title_length)
        some = self.batches(batch_size).take(batches).as_numpy_iterator()
        return statistics.mean(training_flops.packed(self.config, batch, tokens) for batch in some)

    def impressions(self, impressions: tfrs_npa.Impressions) -> tf.data.Dataset:
        return tfrs_npa.impression_batches(
            impressions,
            self._data.catalog,
            self._data.users,
            self.config,
            batch_size=self._evaluation_batch_size,
        )


@dataclasses.dataclass
class Comparison:
    """Results of all measurements.

    Attributes:
        data: The data that both systems got.
        ours: Models of tfrs_npa by system and title length.
        cases: All timed cases.
        scores: Probabilities of a click on each candidate of `data.scored`, before any training, by
            system (`THEIRS` and `PRESET`), `[candidates]`.
        metrics: AUC, MRR and nDCG of these scores, by system and name.
        versions: Versions of their environment, by package.
    """

    data: Data
    ours: dict[tuple[str, int], Ours]
    cases: list[Case] = dataclasses.field(default_factory=list)
    scores: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    def case(self, task: str, system: str = "", title_length: int = 0, batch_size: int = 0) -> Case:
        """Returns the case with this description."""
        wanted = (task, system, title_length, batch_size)
        return next(
            case
            for case in self.cases
            if (case.task, case.system, case.title_length, case.batch_size) == wanted
        )


def compare(
    folder: pathlib.Path, theirs: Mapping[int, Worker], args: argparse.Namespace
) -> Comparison:
    """Measures everything.

    Args:
        folder: The folder that `demo_sized_data.write` wrote.
        theirs: Workers of Recommenders by title length.
        args: `rounds`, `seconds`, `title_lengths`, `batch_sizes` and `evaluation_batch_size`.
    """
    data = Data(folder)
    weights = demo_sized_data.read_weights(folder)
    ours = {}
    for length in theirs:
        for system, config in configurations(folder, length).items():
            ours[system, length] = Ours(config, data, args.evaluation_batch_size)
            with computing_in("bfloat16"):
                half = Ours(config, data, args.evaluation_batch_size)
            ours[f"{system}, bfloat16", length] = half
        tfrs_npa.load_recommenders_weights(ours[PRESET, length].model, weights)
    comparison = Comparison(data, ours)

    evaluation = evaluation_cases(theirs, ours)
    for case in _watched(evaluation, "first evaluations"):
        case.call_first()
    # Before anything is trained: both still have the weights of the file.
    _compare_scores(comparison, folder, theirs[demo_sized_data.TITLE_LENGTH])
    product = Case(PEAK, "", matrix_product.MatrixProduct().run, most_steps=10_000)
    others = [*training_cases(theirs, ours, args), product]
    for case in _watched(others, "first training steps"):
        case.call_first()
    # Evaluation comes after training, so that it never sees the same weights twice.
    comparison.cases = [*others, *evaluation]
    for case in _watched(comparison.cases, "warm-up"):
        case.warm_up(args.seconds)
    for case in _watched(comparison.cases * args.rounds, "rounds"):
        case.measure()
    return comparison


def configurations(folder: pathlib.Path, title_length: int) -> dict[str, tfrs_npa.NPAConfig]:
    """Returns the configurations of `PRESET` and `RECIPE`."""
    preset = tfrs_npa.NPAConfig.from_yaml(folder / f"npa_{title_length}.yaml")
    same = {name: getattr(preset, name) for name in DIMENSIONS}
    return {PRESET: preset, RECIPE: tfrs_npa.NPAConfig().replace(**same)}


def training_cases(theirs, ours, args: argparse.Namespace) -> list[Case]:
    """Makes the cases of training, systems in turn."""
    cases = []
    for length in args.title_lengths:
        for batch_size in args.batch_sizes:
            batches = ours[PRESET, length].batches(batch_size)
            # The last batch of a pass may be a smaller one.
            most_steps = max(1, len(batches) - 1)
            runs = {THEIRS: _their_training(theirs[length], batch_size)}
            for system in TRAINED:
                runs[system] = ours[system, length].training(batch_size)
            for system, run in runs.items():
                cases.append(Case(TRAINING, system, run, length, batch_size, most_steps))
    return cases


def evaluation_cases(theirs, ours) -> list[Case]:
    """Makes the cases of evaluation, systems in turn."""
    length = demo_sized_data.TITLE_LENGTH

    def run(_: int) -> tuple[float, float]:
        answer = theirs[length]("evaluate")
        return answer["seconds"], answer["candidates"]

    return [
        Case(EVALUATION, THEIRS, run, length),
        Case(EVALUATION, PRESET, ours[PRESET, length].evaluation, length),
        Case(EVALUATION, RECIPE, ours[RECIPE, length].evaluation, length),
    ]


def _their_training(worker: Worker, batch_size: int) -> Callable[[int], tuple[float, float]]:
    def run(steps: int) -> tuple[float, float]:
        answer = worker("train", steps=steps, batch_size=batch_size)
        return answer["seconds"], answer["rows"]

    return run


def _compare_scores(comparison: Comparison, folder: pathlib.Path, worker: Worker) -> None:
    path = folder / "their_scores.npy"
    worker("score", path=str(path))
    comparison.scores[THEIRS] = np.load(path).astype(np.float64)
    comparison.metrics[THEIRS] = worker("evaluate")["metrics"]
    model = comparison.ours[PRESET, demo_sized_data.TITLE_LENGTH]
    comparison.scores[PRESET], comparison.metrics[PRESET] = model.scored()
    comparison.versions = worker("versions")


def _watched(cases: list[Case], name: str) -> Iterator[Case]:
    """Yields the cases, showing on standard error which one is running."""
    with tqdm(cases, name, file=sys.stderr) as progress:
        for case in progress:
            progress.set_postfix_str(f"{case.task} {case.system}")
            yield case
