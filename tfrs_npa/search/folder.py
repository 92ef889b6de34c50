"""The folder that a search leaves behind, and what is in it."""

from __future__ import annotations

import os
import pathlib

from tfrs_npa.result_folder import ResultFolder
from tfrs_npa.search.settings import SearchSettings
from tfrs_npa.search_space import SearchSpace

# Of a search that was given no space: every hyper-parameter of the documented one.
_WHOLE_SPACE = "others: searched\n"


class SearchFolder(ResultFolder):
    """The folder of a search.

    It holds `search.yaml` (settings), `space.yaml` (the space, as it was given), `trials/`
    (KerasTuner's own files: the state of the search, and a folder with the best checkpoint of each
    trial), `tensorboard/`, `trials.csv`, and at the end `config.yaml`, `results.json`,
    `objective.png` and `hyperparameters.png`. It appears with the first two, and all but the
    checkpoints is replaced as a whole, so it can be read and resumed whenever the search is cut
    off.

    Args:
        path: the folder.

    Raises:
        ValueError: if it is not there or not of a search.
    """

    kind = "search"
    command = "tune"
    settings_name = "search.yaml"
    settings_type = SearchSettings
    other_name = "space.yaml"

    @classmethod
    def create(
        cls,
        path: str | os.PathLike,
        settings: SearchSettings,
        space: str | os.PathLike | None = None,
        overwrite: bool = False,
    ) -> SearchFolder:
        """Makes the folder of a search that has not begun.

        Args:
            path: the folder.
            settings: what the search is given.
            space: YAML file of the space, see `SearchSpace.from_yaml`; None: the whole documented
                space.
            overwrite: replace a search that is there.

        Raises:
            ValueError: if there is something already, or the space is not as it should be.
        """
        text = _WHOLE_SPACE
        if space is not None:
            SearchSpace.from_yaml(space)  # what is wrong with it is said with its own name
            text = pathlib.Path(space).read_text(encoding="utf-8")
        with cls._appearing(path, settings, overwrite) as temporary:
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
