"""The folder of a search, and what is in it."""

from __future__ import annotations

import os
import pathlib

from tfrs_npa.runs.folder import ResultFolder
from tfrs_npa.search.space import SearchSpace
from tfrs_npa.settings import SearchSettings

# The space of a search that was given none: every hyper-parameter of the documented one.
_WHOLE_SPACE = "others: searched\n"


class SearchFolder(ResultFolder):
    """The folder of a search.

    It holds `search.yaml` (settings), `space.yaml` (the space, as it was given), `data.json` (a
    fingerprint of the data), `trials/` (KerasTuner's own files: the state of the search, and a
    folder with the best checkpoint of each trial), `tensorboard/`, `trials.csv`, and at the end
    `config.yaml`, `results.json`, `objective.png` and `hyperparameters.png`. It is created with the
    first two, and every file but the checkpoints is replaced as a whole, so it can be read and
    resumed whenever the search is interrupted.

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
        path: str | os.PathLike,
        settings: SearchSettings,
        space: str | os.PathLike | None = None,
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
            ValueError: if something exists there already, or the space is malformed.
        """
        text = _WHOLE_SPACE
        if space is not None:
            SearchSpace.from_yaml(space)  # errors name the file that was given
            text = pathlib.Path(space).read_text(encoding="utf-8")
        with cls._created(path, settings, overwrite) as temporary:
            (temporary / cls.other_name).write_text(text, encoding="utf-8")
        return cls(path)

    @property
    def space_file(self) -> pathlib.Path:
        """`space.yaml`."""
        return self.path / self.other_name

    @property
    def trials(self) -> pathlib.Path:
        """KerasTuner's own folder."""
        return self.path / "trials"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Logs for TensorBoard, a folder for each trial."""
        return self.path / "tensorboard"
