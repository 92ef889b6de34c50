"""The folder that a search leaves behind, and what is in it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil

import yaml

from tfrs_npa.search.settings import SearchSettings
from tfrs_npa.search_space import SearchSpace

# Of a search that was given no space: every hyper-parameter of the documented one.
_WHOLE_SPACE = "others: searched\n"


class SearchFolder:
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

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        if not _is_search(self.path):
            what = "is not the folder of a search" if self.path.exists() else "does not exist"
            raise ValueError(f"{self.path} {what}; `tfrs-npa tune --run {self.path}` makes one")

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
        path = pathlib.Path(path)
        check_free(path, overwrite)
        text = _WHOLE_SPACE
        if space is not None:
            SearchSpace.from_yaml(space)  # what is wrong with it is said with its own name
            text = pathlib.Path(space).read_text(encoding="utf-8")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir(parents=True)
            (temporary / "space.yaml").write_text(text, encoding="utf-8")
            settings_text = yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False)
            (temporary / "search.yaml").write_text(settings_text, encoding="utf-8")
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls(path)

    @property
    def settings(self) -> SearchSettings:
        """What the search was given."""
        text = (self.path / "search.yaml").read_text(encoding="utf-8")
        return SearchSettings(**yaml.safe_load(text))

    @property
    def space_file(self) -> pathlib.Path:
        """`space.yaml`."""
        return self.path / "space.yaml"

    @property
    def trials(self) -> pathlib.Path:
        """KerasTuner's own folder."""
        return self.path / "trials"

    @property
    def tensorboard(self) -> pathlib.Path:
        """Logs for TensorBoard, a folder for each trial."""
        return self.path / "tensorboard"


def check_free(path: str | os.PathLike, overwrite: bool) -> None:
    """Makes sure that a search may be begun at `path`.

    Raises:
        ValueError: if there is a search and `overwrite` is false, or there is anything else.
    """
    path = pathlib.Path(path)
    if path.is_dir() and not any(path.iterdir()) or not path.exists():
        return
    if not _is_search(path):
        raise ValueError(f"{path} is there already and is not the folder of a search; name another")
    if not overwrite:
        raise ValueError(
            f"{path} holds a search already; use --resume, --overwrite or another folder"
        )


def _is_search(path: pathlib.Path) -> bool:
    """Whether `path` is the folder of a search."""
    return (path / "search.yaml").is_file() and (path / "space.yaml").is_file()
