"""Folders that a command leaves behind, a training's and a search's."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import ClassVar

import yaml

from tfrs_npa.data.settings import DataSettings


class ResultFolder:
    """A folder that a command makes, goes on with after a break, and that others read.

    It appears at once with all that the command needs to go on, and never takes the place of
    anything but its like.

    Args:
        path: the folder.

    Raises:
        ValueError: if it is not there, or something else.
    """

    # What a subclass has to say: what it is of; the subcommand of `tfrs-npa` that makes it; its
    # file of settings, and their class; another file, by which it is known too.
    kind: ClassVar[str]
    command: ClassVar[str]
    settings_name: ClassVar[str]
    settings_type: ClassVar[type[DataSettings]]
    other_name: ClassVar[str]

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        if not self._is_at(self.path):
            what = "does not exist"
            if self.path.exists():
                what = f"is not the folder of a {self.kind}"
            raise ValueError(
                f"{self.path} {what}; `tfrs-npa {self.command} --run {self.path}` makes one"
            )

    @property
    def settings(self) -> DataSettings:
        """What the command was given."""
        text = (self.path / self.settings_name).read_text(encoding="utf-8")
        return self.settings_type(**yaml.safe_load(text))

    @classmethod
    def check_free(cls, path: str | os.PathLike, overwrite: bool) -> None:
        """Makes sure that such a folder may be made at `path`.

        Args:
            path: the folder.
            overwrite: whether it may take the place of its like.

        Raises:
            ValueError: if there is its like and `overwrite` is false, or there is anything else.
        """
        path = pathlib.Path(path)
        if not path.exists() or path.is_dir() and not any(path.iterdir()):
            return
        if not cls._is_at(path):
            raise ValueError(
                f"{path} is there already and is not the folder of a {cls.kind}; name another"
            )
        if not overwrite:
            raise ValueError(
                f"{path} holds a {cls.kind} already; use --resume, --overwrite or another folder"
            )

    @classmethod
    @contextlib.contextmanager
    def _appearing(
        cls, path: str | os.PathLike, settings: DataSettings, overwrite: bool
    ) -> Iterator[pathlib.Path]:
        """Gives a temporary folder with the settings, moved to `path` if the block does not raise.

        Raises:
            ValueError: as `check_free`.
        """
        path = pathlib.Path(path)
        cls.check_free(path, overwrite)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir(parents=True)
            text = yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False)
            (temporary / cls.settings_name).write_text(text, encoding="utf-8")
            yield temporary
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def _is_at(cls, path: pathlib.Path) -> bool:
        return (path / cls.settings_name).is_file() and (path / cls.other_name).is_file()
