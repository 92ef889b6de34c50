"""The folder that a training leaves behind, and what is in it."""

from __future__ import annotations

import csv
import json
import os
import pathlib
from typing import Any

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.files import replacing
from tfrs_npa.data.users import UserIndex
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.result_folder import ResultFolder
from tfrs_npa.training_settings import TrainingSettings


class Run(ResultFolder):
    """The folder of a training.

    It holds `config.yaml` (hyper-parameters), `training.yaml` (data and course of the training),
    `catalog/` and `users.txt`, `popularity.csv` (clicks and views of the training articles),
    `checkpoints/last.weights.h5` and `checkpoints/best.weights.h5`, `history.csv` (a line for each
    epoch), `tensorboard/`, and at the end `metrics.json`. It appears when all that training needs
    is in it, and each file is replaced as a whole, so it can be read and resumed whenever the
    training is cut off.

    Args:
        path: the folder.

    Raises:
        ValueError: if it is not there or not a run.
    """

    kind = "run"
    command = "train"
    settings_name = "training.yaml"
    settings_type = TrainingSettings
    other_name = "config.yaml"

    @classmethod
    def create(
        cls,
        path: str | os.PathLike,
        model: NPA,
        settings: TrainingSettings,
        popularity: dict[str, tuple[int, int]],
        overwrite: bool = False,
    ) -> Run:
        """Makes the folder, with the model as it is before its first step.

        Args:
            path: the folder.
            model: with its optimizer.
            settings: what the training was given.
            popularity: for articles by id, how often each was clicked and shown.
            overwrite: replace a run that is there.

        Raises:
            ValueError: if there is something already; see `check_free`.
        """
        with cls._appearing(path, settings, overwrite) as temporary:
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
        """What was measured in each epoch, by name."""
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
        """What `metrics.json` holds; None until the training has come to its end."""
        file = self.path / "metrics.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    @metrics.setter
    def metrics(self, figures: dict[str, Any]) -> None:
        with replacing(self.path / "metrics.json") as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")

    def has_checkpoint(self, name: str) -> bool:
        """Whether there is a checkpoint `last` or `best`."""
        return self._checkpoint(name).exists()

    def save_checkpoint(self, model: NPA, name: str) -> None:
        """Writes the weights and the state of the optimizer.

        Args:
            model: the model.
            name: `last` or `best`.
        """
        with replacing(self._checkpoint(name)) as temporary:
            # Keras knows the format by the end of the name.
            weights = temporary.with_suffix(".weights.h5")
            try:
                model.save_weights(weights)
                os.replace(weights, temporary)
            finally:
                weights.unlink(missing_ok=True)

    def load_checkpoint(self, model: NPA, name: str) -> None:
        """Reads what `save_checkpoint` wrote; the optimizer's state too if it is built.

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

        The optimizer is at its beginning, and its learning rate is constant.

        Args:
            checkpoint: `best` or `last`; None: the best that there is.
        """
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
    """Gives back a trained model with its articles (`catalog`) and its users (`users`).

    >>> model = tfrs_npa.load_run("runs/demo")
    >>> batches = tfrs_npa.impression_batches(valid, model.catalog, model.users, model.config)
    >>> model.evaluate(batches)

    It is compiled with the optimizer of its configuration, at its beginning, so that `evaluate`
    and `fit` work. Of a run that was cut off, it is the best model until then.

    Args:
        folder: what `tfrs-npa train --run` was given.

    Raises:
        ValueError: if the folder is not there, is not a run, or is damaged.
    """
    return Run(folder).load_model()
