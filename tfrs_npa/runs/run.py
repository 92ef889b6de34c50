"""The folder of a training and its contents."""

from __future__ import annotations

import csv
import json
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfrs_npa._files import atomic_file
from tfrs_npa.config import NPAConfig
from tfrs_npa.runs.folder import ResultFolder, write_data_fingerprint
from tfrs_npa.settings import TrainingSettings

# The folder can be looked at without TensorFlow.
if TYPE_CHECKING:
    from tfrs_npa.models.npa import NPA


class Run(ResultFolder):
    """The folder of a training.

    It holds `config.yaml` (hyper-parameters), `training.yaml` (data and course of the training),
    `data.json` (a fingerprint of the data), `catalog/` and `users.txt`, `popularity.csv` (clicks
    and views of the training articles), `checkpoints/last.weights.h5` and
    `checkpoints/best.weights.h5`, `history.csv` (a line for each epoch), `tensorboard/`, and at the
    end `metrics.json`. It is created complete enough to train, and each file is replaced as a
    whole, so it can be read and resumed whenever the training is interrupted.

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
        "catalog/articles.jsonl",
        "users.txt",
        "popularity.csv",
        "checkpoints/last.weights.h5",
        "checkpoints/best.weights.h5",
        "history.csv",
        "metrics.json",
        "tensorboard/*events.out.tfevents.*",
        "checkpoints/.*.weights.h5",  # temporary files of older versions
    )

    @classmethod
    def create(
        cls,
        path: str | os.PathLike,
        model: NPA,
        settings: TrainingSettings,
        popularity: Mapping[str, tuple[int, int]],
        overwrite: bool = False,
        data_fingerprint: Mapping[str, Any] | None = None,
    ) -> Run:
        """Creates the folder, with the model as it is before its first step.

        Args:
            path: The folder.
            model: The model with its optimizer.
            settings: The settings that the training was given.
            popularity: For articles by id, how often each was clicked and shown.
            overwrite: Whether to replace an existing run.
            data_fingerprint: The result of `Splits.fingerprint`, if there is to be one.

        Raises:
            ValueError: if something exists there already; see `check_free`.
        """
        with cls._created(path, settings, overwrite) as temporary:
            if data_fingerprint is not None:
                write_data_fingerprint(temporary, data_fingerprint)
            (temporary / "checkpoints").mkdir()
            (temporary / "config.yaml").write_text(model.config.to_yaml(), encoding="utf-8")
            model.catalog.save(temporary / "catalog")
            model.users.save(temporary / "users.txt")
            with (temporary / "popularity.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["news_id", "clicked", "shown"])
                writer.writerows([news_id, *counts] for news_id, counts in popularity.items())
            model.save_weights(temporary / "checkpoints" / "last.weights.h5")
        return cls(path)

    @property
    def config(self) -> NPAConfig:
        """The hyper-parameters."""
        return NPAConfig.from_yaml(self.path / "config.yaml")

    @property
    def popularity(self) -> dict[str, tuple[int, int]]:
        """For articles by id, how often each was clicked and shown in training."""
        with (self.path / "popularity.csv").open(encoding="utf-8", newline="") as file:
            return {
                row["news_id"]: (int(row["clicked"]), int(row["shown"]))
                for row in csv.DictReader(file)
            }

    @property
    def history(self) -> list[dict[str, float]]:
        """The metrics of each epoch by name."""
        if not self.history_file.exists():
            return []
        with self.history_file.open(encoding="utf-8", newline="") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]

    @property
    def history_file(self) -> pathlib.Path:
        """`history.csv`."""
        return self.path / "history.csv"

    @property
    def metrics(self) -> dict[str, Any] | None:
        """The content of `metrics.json`; None until the training has ended."""
        file = self.path / "metrics.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    @metrics.setter
    def metrics(self, metrics: dict[str, Any]) -> None:
        with atomic_file(self.path / "metrics.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")

    def has_checkpoint(self, name: str) -> bool:
        """Whether there is a checkpoint `last` or `best`."""
        return self._checkpoint(name).exists()

    def save_checkpoint(self, model: NPA, name: str) -> None:
        """Writes the weights and the state of the optimizer.

        Args:
            model: The model.
            name: `last` or `best`.
        """
        with atomic_file(self._checkpoint(name)) as temporary:
            model.save_weights(temporary)

    def load_checkpoint(self, model: NPA, name: str) -> None:
        """Loads a checkpoint; the optimizer's state too if it is built.

        Raises:
            ValueError: if the checkpoint is damaged, or made for another vocabulary or other users.
        """
        path = self._checkpoint(name)
        try:
            model.load_weights(path)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"{path} does not fit the config.yaml, catalog/ and users.txt of its run, or is "
                f"damaged: {error}"
            ) from error

    def load_model(self, checkpoint: str | None = None) -> NPA:
        """Returns the model, compiled with the optimizer of its configuration.

        The optimizer is in its initial state, and its learning rate is constant.

        Args:
            checkpoint: `best` or `last`; None: the best, or the last if there is no best yet.
        """
        from tfrs_npa.data.catalog import NewsCatalog
        from tfrs_npa.data.users import UserIndex
        from tfrs_npa.models.npa import NPA
        from tfrs_npa.optimizers import default_optimizer

        config = self.config
        catalog = NewsCatalog.load(self.path / "catalog")
        model = NPA(config, catalog, UserIndex.load(self.path / "users.txt"))
        if checkpoint is None:
            checkpoint = "best" if self.has_checkpoint("best") else "last"
        self.load_checkpoint(model, checkpoint)
        model.compile(optimizer=default_optimizer(config.replace(schedule="constant")))
        return model

    def _checkpoint(self, name: str) -> pathlib.Path:
        return self.path / "checkpoints" / f"{name}.weights.h5"


def load_run(folder: str | os.PathLike) -> NPA:
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
