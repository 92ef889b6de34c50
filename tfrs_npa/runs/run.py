"""The folder of a training and its contents."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_npa._files import atomic_file
from tfrs_npa.config import NPAConfig
from tfrs_npa.runs.checkpoint import checkpoint_state, load_checkpoint, save_checkpoint
from tfrs_npa.runs.folder import ResultFolder, write_checksums, write_data_fingerprint
from tfrs_npa.settings import TrainingSettings

# The folder can be looked at without TensorFlow.
if TYPE_CHECKING:
    from tfrs_npa.data.catalog import NewsCatalog
    from tfrs_npa.data.users import UserIndex
    from tfrs_npa.models.npa import NPA
    from tfrs_npa.runs.baselines import Baselines
    from tfrs_npa.runs.last_seen import LastSeen

_LAST, _PREVIOUS, _BEST = "last", "previous", "best"
# Files that do not change once they are written, whose checksums are kept. Not training.yaml: who
# moves the data changes its path there.
_CONSTANT = (
    "config.yaml",
    "data.json",
    "catalog/*",
    "users.*",
    "popularity.csv",
    "word_vectors.npy",
    "last_seen.npz",
    "warm_start.json",
)

logger = logging.getLogger(__name__)


class Run(ResultFolder):
    """The folder of a training.

    It holds `config.yaml` (hyper-parameters), `training.yaml` (data and course of the training),
    `data.json` (a fingerprint of the data), `catalog/` and `users.txt`, or `users.npz` if users are
    in buckets, `popularity.csv` (clicks and views of the training articles), `word_vectors.npy`
    (those of the baselines),
    `last_seen.npz` (which words, articles and users the data has), `warm_start.json` if it started
    from another run, `forgotten.json` if users were removed from it,
    `checkpoints/` with `last.weights.h5`, the one before it, `previous.weights.h5`, and
    `best.weights.h5`, `history.csv` (a line for each
    epoch; epoch 0 is the untrained model), `tensorboard/`, and at the end `metrics.json` and
    pictures in `plots/`. It is created complete enough to train, and each file is replaced as a
    whole, so it can be read and resumed whenever the training is interrupted. So can the folders
    of earlier versions.

    Args:
        path: The folder.

    Raises:
        ValueError: if it does not exist or is not a run.
    """

    kind = "run"
    command = "train"
    settings_name = "training.yaml"
    settings_type = TrainingSettings
    other_name = "config.yaml"
    file_patterns = (
        "catalog/words.txt",
        "catalog/tokenizer.txt",
        "catalog/articles.jsonl",
        "catalog/article_vectors.npy",
        "users.txt",
        "users.npz",
        "popularity.csv",
        "word_vectors.npy",
        "last_seen.npz",
        "warm_start.json",
        "forgotten.json",
        "checkpoints/last.weights.h5",
        "checkpoints/previous.weights.h5",
        "checkpoints/best.weights.h5",
        "history.csv",
        "metrics.json",
        "report.html",  # of `tfrs-npa explain`, where `make demo` writes it
        "tensorboard/*events.out.tfevents.*",
        "tensorboard/projector_config.pbtxt",
        "tensorboard/articles.tsv",
        "tensorboard/article_metadata.tsv",
        "plots/learning_curves.png",
        "plots/slices.png",
        "plots/reliability.png",
        "checkpoints/.*.weights.h5",  # temporary files of older versions
    )
    # Whether the checkpoint before the last stays when one is saved: the last one is damaged.
    _keeps_previous = False

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        model: NPA,
        settings: TrainingSettings,
        baselines: Baselines,
        overwrite: bool = False,
        data_fingerprint: Mapping[str, Any] | None = None,
        last_seen: LastSeen | None = None,
        warm_start: Mapping[str, Any] | None = None,
    ) -> Run:
        """Creates the folder, with the model as it is before its first step.

        Args:
            path: The folder.
            model: The model with its optimizer.
            settings: The settings that the training was given.
            baselines: The baselines of the training impressions.
            overwrite: Whether to replace an existing run.
            data_fingerprint: The result of `Splits.fingerprint`, if there is to be one.
            last_seen: Which words, articles and users the data has, if that is to be kept.
            warm_start: Where the model comes from; see `warm_start`. None: from nowhere.

        Raises:
            ValueError: if something exists there already; see `check_free`.
        """
        tokenizer = model.catalog.require_vocabulary().tokenizer
        settings = dataclasses.replace(settings, tokenizer=tokenizer)
        with cls._created(path, settings, overwrite) as temporary:
            if data_fingerprint is not None:
                write_data_fingerprint(temporary, data_fingerprint)
            (temporary / "checkpoints").mkdir()
            (temporary / "config.yaml").write_text(model.config.to_yaml(), encoding="utf-8")
            model.catalog.save(temporary / "catalog")
            model.users.save(temporary / model.users.file_name)
            with (temporary / "popularity.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["news_id", "clicked", "shown"])
                popularity = baselines.popularity.items()
                writer.writerows([news_id, *counts] for news_id, counts in popularity)
            if baselines.word_vectors is not None:
                np.save(temporary / "word_vectors.npy", baselines.word_vectors)
            if last_seen is not None:
                last_seen.save(temporary / "last_seen.npz")
            if warm_start is not None:
                text = json.dumps(warm_start, indent=2) + "\n"
                (temporary / "warm_start.json").write_text(text, encoding="utf-8")
            write_checksums(temporary, _CONSTANT)
            last = temporary / "checkpoints" / f"{_LAST}.weights.h5"
            save_checkpoint(last, model, {"epoch": 0, "step": 0, "history": []})
        return cls(path)

    @property
    def config(self) -> NPAConfig:
        """The hyper-parameters; those that an earlier version did not have are off."""
        with self.reading("config.yaml") as file:
            return NPAConfig.from_yaml(file, NPAConfig.from_saved({}))

    @property
    def catalog(self) -> NewsCatalog:
        """The articles and words of the model.

        Raises:
            ValueError: if a file is damaged.
        """
        from tfrs_npa.data.catalog import NewsCatalog

        for name in sorted(self._checksums):
            if name.startswith("catalog/"):
                with self.reading(name):
                    pass  # its errors name the file
        with self.reading("catalog") as folder:
            return NewsCatalog.load(folder)

    @property
    def users(self) -> UserIndex:
        """The users of the model.

        Raises:
            ValueError: if the file is damaged.
        """
        from tfrs_npa.data.users import HashedUserIndex, UserIndex

        is_hashed = self.has(HashedUserIndex.file_name)
        index = HashedUserIndex if is_hashed else UserIndex
        with self.reading(index.file_name) as file:
            return UserIndex.load(file)

    @property
    def baselines(self) -> Baselines:
        """The baselines of the training impressions; without vectors in older versions' folders.

        Raises:
            ValueError: if the file of vectors is damaged.
        """
        from tfrs_npa.runs.baselines import Baselines

        with (
            self.reading("popularity.csv") as path,
            path.open(encoding="utf-8", newline="") as file,
        ):
            popularity = {
                row["news_id"]: (int(row["clicked"]), int(row["shown"]))
                for row in csv.DictReader(file)
            }
        if not self.has("word_vectors.npy"):
            return Baselines(popularity)
        with self.reading("word_vectors.npy") as file:
            return Baselines(popularity, np.load(file, allow_pickle=False))

    def save_checksums(self) -> None:
        """Writes the checksums of files that do not change from now on."""
        write_checksums(self.path, _CONSTANT)

    @property
    def warm_start(self) -> dict[str, Any] | None:
        """Where the model started; None: from initial weights.

        `from` is the other run, `first_step` the steps that its optimizer had taken; `added` and
        `dropped` count `words`, `articles` and `users`.
        """
        saved = self._json("warm_start.json")
        return None if saved is None else {"first_step": 0} | saved

    @property
    def forgotten(self) -> int:
        """How many users were removed from the run; see `tfrs_npa.forget_users`."""
        saved = self._json("forgotten.json", "users")
        return 0 if saved is None else saved["users"]

    @forgotten.setter
    def forgotten(self, users: int) -> None:
        with atomic_file(self.path / "forgotten.json") as temporary:
            temporary.write_text(json.dumps({"users": users}) + "\n", encoding="utf-8")

    def last_seen(self, model: NPA) -> LastSeen:
        """Returns when words, articles and users were last seen.

        Args:
            model: The model of the run. In the folder of an earlier version, everything that it has
                counts as seen.

        Raises:
            ValueError: if the file is damaged.
        """
        from tfrs_npa.runs.last_seen import LastSeen

        indices = (model.catalog.require_vocabulary(), model.catalog, model.users)
        if not self.has("last_seen.npz"):
            return LastSeen(*(np.ones(len(index), np.int32) for index in indices))
        with self.reading("last_seen.npz") as file:
            return LastSeen.load(file)

    @property
    def history(self) -> list[dict[str, float]]:
        """For each epoch, `epoch` and its metrics by name; epoch 0 is the untrained model."""
        if not (self.path / "history.csv").exists():
            return []
        with (
            self.reading("history.csv") as file,
            file.open(encoding="utf-8", newline="") as opened,
        ):
            rows = [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(opened)
            ]
            if not all(math.isfinite(row["epoch"]) for row in rows):
                raise ValueError("an epoch is not a number")
        if rows and rows[0]["epoch"] == 0 and "loss" in rows[0]:
            # An earlier version's: it counted trained epochs from 0.
            rows = [row | {"epoch": row["epoch"] + 1} for row in rows]
        return rows

    @history.setter
    def history(self, rows: Sequence[Mapping[str, float]]) -> None:
        names = {name for row in rows for name in row} - {"epoch"}
        with (
            atomic_file(self.path / "history.csv") as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, ["epoch", *sorted(names)])
            writer.writeheader()
            # float: numbers of NumPy would be rounded.
            numbers = ({name: float(value) for name, value in row.items()} for row in rows)
            writer.writerows(row | {"epoch": int(row["epoch"])} for row in numbers)

    @property
    def metrics(self) -> dict[str, Any] | None:
        """The content of `metrics.json`; None until the training has ended."""
        return self._json("metrics.json")

    @metrics.setter
    def metrics(self, metrics: dict[str, Any]) -> None:
        with atomic_file(self.path / "metrics.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")

    @property
    def plots(self) -> pathlib.Path:
        """The folder of the pictures of the training and of its evaluation."""
        return self.path / "plots"

    @property
    def tensorboard(self) -> pathlib.Path:
        """The folder of what TensorBoard shows."""
        return self.path / "tensorboard"

    def has_checkpoint(self, name: str) -> bool:
        """Whether there is a checkpoint `last`, `previous` or `best`."""
        return self._checkpoint(name).exists()

    def save_checkpoint(self, model: NPA, name: str, state: Mapping[str, Any]) -> None:
        """Writes the weights and the variables of the optimizer; keeps the `last` as `previous`.

        Args:
            model: The model.
            name: `last` or `best`.
            state: Where the training is: `epoch`, the complete ones; `step`, those of the next one;
                `history`, as the attribute; and what the callback `WithinEpoch` needs.

        Raises:
            OSError: if it cannot be written. What was there stays.
        """
        previous = None
        if name == _LAST and not self._keeps_previous:
            previous = self._checkpoint(_PREVIOUS)
        save_checkpoint(self._checkpoint(name), model, dict(state), previous)
        self._keeps_previous = self._keeps_previous and name != _LAST

    def load_checkpoint(self, model: NPA, name: str) -> dict[str, Any] | None:
        """Loads a checkpoint; the optimizer's variables too if it is built.

        Args:
            model: The model.
            name: `last`, `previous` or `best`.

        Returns:
            What `save_checkpoint` was given as `state`; None for a checkpoint of version 0.1.

        Raises:
            ValueError: if the checkpoint is missing, damaged, or made for another vocabulary or
                other users.
        """
        path = self._checkpoint(name)
        if not path.exists():
            raise ValueError(f"{path} is missing; restore it, or start over with --overwrite")
        return load_checkpoint(path, model)

    def load_last(self, model: NPA) -> dict[str, Any] | None:
        """Loads the last checkpoint, or the one before it if that is missing or damaged.

        That one is kept when the next one is saved, which replaces what is damaged.

        Args, Returns, Raises: as `load_checkpoint`.
        """
        try:
            return self.load_checkpoint(model, _LAST)
        except ValueError as error:
            if not self.has_checkpoint(_PREVIOUS):
                raise
            try:
                state = self.load_checkpoint(model, _PREVIOUS)
            except ValueError as other:
                logger.warning("%s", other)
                raise error from other
            logger.warning("%s. The checkpoint before it is taken", error)
            self._keeps_previous = True
            return state

    def checkpoint_state(self, name: str) -> dict[str, Any] | None:
        """Returns the state that a checkpoint was written with; None: version 0.1 wrote it.

        Raises:
            ValueError: if the checkpoint is damaged.
        """
        return checkpoint_state(self._checkpoint(name))

    def load_model(self, checkpoint: str | None = None, with_optimizer: bool = False) -> NPA:
        """Returns the model, compiled with the optimizer of its configuration.

        The learning rate of the optimizer is constant. The model computes in the precision of its
        training.

        Args:
            checkpoint: `best` or `last`; None: the best, or the last if there is no best yet.
            with_optimizer: Whether to load the optimizer's state; else it is the initial one.
        """
        from tfrs_npa.models.npa import NPA
        from tfrs_npa.optimizers import default_optimizer
        from tfrs_npa.runs.precision import computing_in

        config = self.config
        catalog = self.catalog
        with computing_in(self.settings.precision):
            model = NPA(config, catalog, self.users)
        is_chosen = checkpoint is not None
        checkpoint = checkpoint or (_BEST if self.has_checkpoint(_BEST) else _LAST)
        if not with_optimizer:
            state = self.load_checkpoint(model, checkpoint)
        model.compile(optimizer=default_optimizer(config.replace(schedule="constant")))
        if with_optimizer:
            model.optimizer.build(model.trainable_variables)
            state = self.load_checkpoint(model, checkpoint)
        if not is_chosen and self.metrics is None:
            if not any(row["epoch"] for row in self.history):
                logger.warning(
                    "%s has not completed an epoch: these are the weights after %s steps",
                    self.path,
                    f"{state['step'] if state else 0:,}",
                )
        return model

    def _json(self, name: str, *numbers: str) -> dict[str, Any] | None:
        """Returns what a file holds by name; None if there is none.

        Args:
            name: The file.
            numbers: Names that have to be there, with whole numbers.
        """
        if not self.has(name):
            return None
        with self.reading(name) as file:
            saved = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(saved, dict) or not all(
                isinstance(saved.get(key), int) for key in numbers
            ):
                raise ValueError(f"it has to hold {', '.join(numbers) or 'values by name'}")
            return saved

    def _checkpoint(self, name: str) -> pathlib.Path:
        return self.path / "checkpoints" / f"{name}.weights.h5"


def load_run(folder: str | os.PathLike[str]) -> NPA:
    """Loads a trained model with its articles (`catalog`) and its users (`users`).

    >>> model = tfrs_npa.load_run("runs/demo")
    >>> batches = tfrs_npa.impression_batches(valid, model.catalog, model.users, model.config)
    >>> model.evaluate(batches)

    It is compiled with the optimizer of its configuration, in its initial state, so that
    `evaluate` and `fit` work. For an interrupted run, this is the best model so far.

    Args:
        folder: The folder that `tfrs-npa train --run` was given.

    Raises:
        ValueError: if the folder does not exist, is not a run, or is damaged.
    """
    return Run(folder).load_model()
