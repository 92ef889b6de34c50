"""Removes users from a run."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Collection, Iterable

import numpy as np

from tfrs_npa._files import atomic_folder, is_temporary
from tfrs_npa._lock import LOCK_FILE, hand_over, locked
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.models.npa import NPA
from tfrs_npa.models.warm_start import warm_start
from tfrs_npa.optimizers import default_optimizer
from tfrs_npa.runs.run import Run


def forget_users(folder: str | os.PathLike[str], user_ids: Iterable[str]) -> list[str]:
    """Removes the ids of users from a run, and their rows of the user table and its moments.

    They are the unknown user from then on; the scores of all others stay the same bit for bit. Of
    users in buckets (`UserIndex.hashed`), the bucket is emptied, since its row cannot be divided:
    whoever shares it is the unknown user too. The
    folder is replaced as a whole, so it must not be training. It cannot be resumed any more: its
    training has seen the users.

    >>> remains = tfrs_npa.forget_users("runs/mine", ["U13"])

    Args:
        folder: The folder of the run.
        user_ids: The users.

    Returns:
        What may still hold something of them, a phrase each.

    Raises:
        ValueError: if the folder is not a run or is damaged, or does not know one of the users.
            Nothing has changed then.
    """
    run, gone = Run(folder), dict.fromkeys(user_ids)
    users = run.users
    unknown = [user_id for user_id in gone if users.index(user_id) == UNKNOWN_USER]
    if unknown:
        raise ValueError(
            f"{run.path} does not know {', '.join(map(repr, unknown))}; its users are in "
            f"{users.file_name}"
        )
    with locked(run.path, "run"), atomic_folder(run.path, replace=True) as temporary:
        shutil.copytree(run.path, temporary, True, _left_behind, dirs_exist_ok=True)
        (temporary / LOCK_FILE).unlink()
        hand_over(run.path, temporary)
        copy = Run(temporary)
        copy.forgotten += len(gone)
        (temporary / "data.json").unlink(missing_ok=True)  # it can tell who was there
        # The last first: it is there from the start.
        for name in filter(run.has_checkpoint, ("last", "best")):
            before = run.load_model(name, with_optimizer=True)
            after = without_users(before, gone)
            copy.save_checkpoint(after, name, run.checkpoint_state(name) or {})
        (temporary / "checkpoints" / "previous.weights.h5").unlink(missing_ok=True)
        after.users.save(temporary / users.file_name)
        seen, kept = run.last_seen(before), after.users.indices_in(before.users)
        dataclasses.replace(seen, users=seen.users[kept]).save(temporary / "last_seen.npz")
        copy.save_checksums()
    return _remains(run)


def without_users(model: NPA, user_ids: Collection[str]) -> NPA:
    """Returns a model without some users and their rows, and with the state of the optimizer.

    Args:
        model: The model of a run, compiled.
        user_ids: The users. A bucket goes with all who share it.
    """
    stays = np.ones(len(model.users), bool)
    stays[model.users.index(list(user_ids))] = False
    users = model.users.empty().extend_from(model.users, np.flatnonzero(stays))
    after = NPA(model.config, model.catalog, users)
    after.compile(default_optimizer(model.config.replace(schedule="constant")))
    # The words stay where they are: nothing else is to change.
    warm_start(model, after, follow_titles=False)
    return after


def _left_behind(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if is_temporary(pathlib.Path(folder, name))]


def _remains(run: Run) -> list[str]:
    path = pathlib.Path(os.path.realpath(run.path))
    beside = [file for file in sorted(path.parent.iterdir()) if is_temporary(file)]
    return [
        "the other weights of the run, its metrics, and the counts in its popularity.csv: their "
        "clicks had a part in them, and only a new training without their clicks undoes that",
        f"the data, {run.settings.data}, and what was prepared or cached of it; a training that "
        "starts from this run on data with their clicks learns them again",
        *([f"{run.warm_start['from']}, the run that it started from"] if run.warm_start else []),
        *(
            f"{file}, which an interrupted command left behind"
            for file in beside
            if file.name.endswith(f".tmp.{path.name}")
        ),
        "exports of the run that were not written again with --export",
        "runs that started from this one, searches on the same data, and backups",
    ]
