"""Checkpoints: Keras's weights, and behind them a state of the training and a checksum of both."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import struct
from typing import TYPE_CHECKING, Any

import h5py

from tfrs_npa._files import atomic_file
from tfrs_npa._hdf5 import require_own_data
from tfrs_npa._quoting import reason_of

if TYPE_CHECKING:
    from tfrs_npa.models.npa import NPA

# Behind the HDF5 file, whose readers do not look there: JSON and its length; the SHA-256 of all
# that comes before; and this, which tells the version. An attribute in the file says that it is
# there.
_MAGIC = b"tfrsnpa2"
_LENGTH, _FOOTER = struct.Struct(">Q"), struct.Struct(">Q32s8s")
_ATTRIBUTE = "tfrs_npa"
_BLOCK = 1 << 22


def save_checkpoint(
    path: pathlib.Path, model: NPA, state: dict[str, Any], previous: pathlib.Path | None = None
) -> None:
    """Writes the weights of a model and the variables of its optimizer.

    The file is complete and on the disk before it replaces another.

    Args:
        path: The file, `*.weights.h5`.
        model: The model.
        state: Of the training, anything that JSON can hold.
        previous: Where to keep the file that is replaced; None: nowhere.

    Raises:
        OSError: if it cannot be written, for example because there is no space left. That is found
            before HDF5 writes anything: on a full disk it can crash the process.
    """
    with atomic_file(path) as temporary:
        _require_space(temporary, model)
        model.save_weights(temporary)
        with h5py.File(temporary, "r+") as weights:
            weights.attrs[_ATTRIBUTE] = _MAGIC
        text = json.dumps(state).encode()
        with temporary.open("r+b") as file:
            digest = _digest(file, os.path.getsize(temporary))
            digest.update(text + _LENGTH.pack(len(text)))
            file.seek(0, os.SEEK_END)
            file.write(text + _FOOTER.pack(len(text), digest.digest(), _MAGIC))
        if previous is not None and path.exists():
            with atomic_file(previous) as link:
                try:
                    os.link(path, link)
                except OSError:  # the file system has no links
                    shutil.copyfile(path, link)


def load_checkpoint(path: pathlib.Path, model: NPA) -> dict[str, Any] | None:
    """Loads the weights, and the variables of the optimizer if it is built.

    Args:
        path: The file.
        model: The model.

    Returns:
        What `save_checkpoint` was given as `state`; None for a checkpoint of version 0.1.

    Raises:
        ValueError: if the file is damaged, refers to other files, or does not fit the model.
    """
    state = checkpoint_state(path)
    try:
        require_own_data(path)
        if state is None:
            _require_no_footer(path)
        model.load_weights(path)
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} does not fit the config.yaml, catalog/ and users of its run, or is damaged: "
            f"{reason_of(error)}"
        ) from error
    return state


def checkpoint_state(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the state of the training at a checkpoint, whose checksum is compared.

    Args:
        path: The file.

    Returns:
        As `load_checkpoint`.

    Raises:
        ValueError: if the file is not what `save_checkpoint` wrote.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        size = os.path.getsize(path)
        file.seek(max(0, size - _FOOTER.size))
        footer = file.read()
        if len(footer) < _FOOTER.size or not footer.endswith(_MAGIC):
            return None
        length, expected, _ = _FOOTER.unpack(footer)
        end = size - _FOOTER.size
        if _digest(file, end + _LENGTH.size).digest() != expected:
            raise ValueError(
                f"{path} is damaged: it does not have the checksum that was written with it"
            )
        file.seek(end - length)
        return json.loads(file.read(length))


def _require_no_footer(path):
    with h5py.File(path, "r") as weights:
        if _ATTRIBUTE in weights.attrs:
            raise ValueError("its end is missing")


def _digest(file, end: int):
    """Returns the SHA-256 of the first `end` bytes of a file."""
    file.seek(0)
    digest = hashlib.sha256()
    while end > 0 and (block := file.read(min(end, _BLOCK))):
        digest.update(block)
        end -= len(block)
    return digest


def _require_space(path: pathlib.Path, model: NPA) -> None:
    """Raises an OSError if there is no space for a file of the size of a checkpoint."""
    if not hasattr(os, "posix_fallocate"):  # on macOS
        return
    optimizer = model.optimizer  # None: the model is not compiled
    variables = [*model.variables, *(optimizer.variables if optimizer is not None else [])]
    size = sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size + size // 64 + (1 << 20))
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path.parent)) from error
