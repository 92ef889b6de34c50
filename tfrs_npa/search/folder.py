"""The folder of a search, and what is in it."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from tfrs_npa._files import atomic_file
from tfrs_npa._lock import locked
from tfrs_npa.config import NPAConfig
from tfrs_npa.runs.folder import ResultFolder, damaged
from tfrs_npa.search.space import SearchSpace
from tfrs_npa.settings import SearchSettings

# The space of a search that was given none: every hyper-parameter of the documented one.
_WHOLE_SPACE = "others: searched\n"
_BASE_FILE = "base.yaml"


class SearchFolder(ResultFolder):
    """The folder of a search.

    It holds `search.yaml` (settings), `space.yaml` (the space, as it was given), `base.yaml` (the
    hyper-parameters that the search starts from), `data.json` (a fingerprint of the data),
    `baselines.json` (metrics of the baselines on the impressions that trials are compared on),
    `trials/` (KerasTuner's own files: the state of the search, and a folder with the best
    checkpoint of each trial), `tensorboard/`, `trials.csv`, and at the end `config.yaml`,
    `results.json`, `objective.png` and `hyperparameters.png`. It is created with the first three,
    and every file but the checkpoints is replaced as a whole, so it can be read and resumed
    whenever the search is interrupted. So can the folders of earlier versions.

    Args:
        path: The folder.

    Raises:
        ValueError: if it does not exist or is not a search's.
    """

    kind = "search"
    command = "tune"
    settings_name = "search.yaml"
    settings_type = SearchSettings
    other_name = "space.yaml"
    file_patterns = (
        "base.yaml",
        "baselines.json",
        "trials/*.json",
        "trials/trial_*/*.json",
        "trials/trial_*/checkpoint*",
        "trials/trial_*/failure.txt",
        "tensorboard/*events.out.tfevents.*",
        "trials.csv",
        "config.yaml",
        "results.json",
        "objective.png",
        "hyperparameters.png",
        "chief_process.json",
        "retrained.csv",  # of tuning/retrain.py
    )

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        settings: SearchSettings,
        space: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> SearchFolder:
        """Creates the folder of a search that has not started.

        Args:
            path: The folder.
            settings: The settings of the search.
            space: YAML file of the space, see `SearchSpace.from_yaml`; None: the whole documented
                space.
            overwrite: Whether to replace an existing search.

        Raises:
            ValueError: if something exists there already, another process writes it, or the space
                is malformed.
        """
        text, base = _WHOLE_SPACE, NPAConfig()
        if space is not None:
            base = SearchSpace.from_yaml(space).base  # errors name the file that was given
            text = pathlib.Path(space).read_text(encoding="utf-8")
        with locked(path, cls.kind), cls._created(path, settings, overwrite) as temporary:
            (temporary / cls.other_name).write_text(text, encoding="utf-8")
            (temporary / _BASE_FILE).write_text(base.to_yaml(), encoding="utf-8")
        return cls(path)

    @property
    def space(self) -> SearchSpace:
        """The space. Hyper-parameters that an earlier version did not have are off."""
        file = self.path / _BASE_FILE
        if file.exists():
            base = NPAConfig.from_yaml(file, NPAConfig.from_saved({}))
        else:
            base = SearchSpace.from_yaml(self.space_file).base
            now, before = NPAConfig().to_dict(), NPAConfig.from_saved({}).to_dict()
            off = {name: value for name, value in before.items() if value != now[name]}
            base = base.replace(**off)
        return SearchSpace.from_yaml(self.space_file, base)

    @property
    def space_file(self) -> pathlib.Path:
        """`space.yaml`."""
        return self.path / self.other_name

    @property
    def baselines(self) -> dict[str, Any] | None:
        """The content of `baselines.json`, see `evaluate_baselines`; None if it does not exist."""
        file = self.path / "baselines.json"
        try:
            return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        except ValueError as error:
            raise damaged(file, error) from error

    @baselines.setter
    def baselines(self, baselines: dict[str, Any]) -> None:
        with atomic_file(self.path / "baselines.json") as temporary:
            temporary.write_text(json.dumps(baselines, indent=2) + "\n", encoding="utf-8")

    @property
    def trials(self) -> pathlib.Path:
        """KerasTuner's own folder."""
        return self.path / "trials"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Logs for TensorBoard, a folder for each trial."""
        return self.path / "tensorboard"
