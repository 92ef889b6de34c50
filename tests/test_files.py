import errno
import os
import pathlib

import pytest

from tfrs_npa._files import atomic_file, atomic_folder, require_replaceable, sweep
from tfrs_npa._lock import LOCK_FILE, locked


def test_moves_a_complete_file_into_place(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_is_moved_before_all_are_written(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    with pytest.raises(RuntimeError), atomic_file(first) as one, atomic_file(second) as two:
        one.write_text("a")
        two.write_text("b")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_the_temporary_name_ends_like_the_file(tmp_path):
    with atomic_file(tmp_path / "last.weights.h5") as temporary:
        assert temporary.name.endswith("last.weights.h5") and temporary.parent == tmp_path
        temporary.touch()


def test_a_link_is_written_through(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_regular_files_are_replaced(tmp_path, kind):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    for write in (require_replaceable, lambda path: atomic_file(path).__enter__()):
        with pytest.raises(ValueError, match=f"{path} exists and is not a regular file"):
            write(path)
    assert os.path.lexists(path)


@pytest.mark.parametrize("before", ["nothing", "folder", "file"])
def test_a_folder_appears_whole(tmp_path, before):
    path = tmp_path / "new" / "folder"
    if before != "nothing":
        path.parent.mkdir()
    if before == "folder":
        path.mkdir()
        (path / "old.txt").touch()
    elif before == "file":
        path.touch()
    with atomic_folder(path, replace=True) as temporary:
        (temporary / "new.txt").write_text("whole")
        assert not (path / "new.txt").exists()
    assert [file.name for file in path.iterdir()] == ["new.txt"]
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old.txt").touch()
    with pytest.raises(RuntimeError), atomic_folder(path, replace=True) as temporary:
        (temporary / "new.txt").touch()
        raise RuntimeError
    assert [file.name for file in path.rglob("*")] == ["old.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_folder_is_written_through(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with atomic_folder(tmp_path / "link", replace=True) as temporary:
        (temporary / "new.txt").touch()
    assert [file.name for file in (tmp_path / "disk").iterdir()] == ["new.txt"]
    assert (tmp_path / "link").is_symlink()


def test_a_folder_that_cannot_be_moved_into_place_leaves_the_old_one(tmp_path, monkeypatch):
    path, replace = tmp_path / "folder", os.replace
    path.mkdir()
    (path / "old.txt").touch()

    def fail(source, target):
        if os.path.exists(os.path.join(source, "new.txt")):
            raise OSError("no more space")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no more space"), atomic_folder(path, replace=True) as t:
        (t / "new.txt").touch()
    assert [file.name for file in path.iterdir()] == ["old.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_put_back_after_a_kill_between_the_two_moves(tmp_path, monkeypatch):
    """Nobody took care of it then: the next one to lock the folder does."""
    path, replace = tmp_path / "folder", os.replace
    path.mkdir()
    (path / "old.txt").touch()

    class Killed(BaseException):
        """Nothing in the program catches it."""

    def killed(source, target):
        if os.path.exists(os.path.join(source, "new.txt")) or target == path:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", killed)
        with atomic_folder(path, replace=True) as temporary:
            (temporary / "new.txt").touch()
    assert not path.exists()
    (aside,) = tmp_path.iterdir()
    os.utime(aside, (0, 0))
    with locked(path, "run"):
        sweep(path)
        assert {file.name for file in path.iterdir()} == {"old.txt", LOCK_FILE}
    assert list(tmp_path.iterdir()) == [path]
    with atomic_folder(path, replace=True) as temporary:
        (temporary / "new.txt").touch()
    assert list(tmp_path.rglob("*")) == [path, path / "new.txt"]


def test_a_folder_that_came_into_being_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(OSError), atomic_folder(path) as temporary:
        (temporary / "new.txt").touch()
        path.mkdir()
        (path / "theirs.txt").touch()
    assert [file.name for file in path.iterdir()] == ["theirs.txt"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("names_it", [False, True])
def test_an_error_of_writing_names_the_file(tmp_path, names_it):
    """Not a temporary one; a full disk says nothing of the file."""
    path = tmp_path / "file.txt"
    for write in (atomic_file, atomic_folder):
        with pytest.raises(OSError) as caught, write(path) as temporary:
            given = (temporary,) if names_it else ()
            raise OSError(errno.ENOSPC, "No space left on device", *given)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert not list(tmp_path.iterdir())


def test_what_the_dead_left_is_swept(tmp_path):
    """What is young may be of the living."""
    folder, other = tmp_path / "run", tmp_path / ".0123456789ab.tmp.other"
    old = [folder / ".0123456789ab.tmp.a", folder / "deep" / ".0123456789ab.tmp.b"]
    old += [tmp_path / ".0123456789ab.tmp.run" / "inside"]
    kept = [folder / "deep" / ".abcdef012345.tmp.b", folder / ".lock", folder / "a", other]
    for file in old + kept:
        file.parent.mkdir(exist_ok=True, parents=True)
        file.touch()
    for file in [*old, old[-1].parent, other, folder / "a"]:
        os.utime(file, (0, 0))
    sweep(folder)
    assert not any(file.exists() for file in old) and all(file.exists() for file in kept)
    sweep(tmp_path / "missing")


def test_a_folder_is_swept_if_the_one_above_cannot_be_listed(tmp_path, monkeypatch):
    """As with mode 711, which says nothing to root."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    left = tmp_path / "run" / ".0123456789ab.tmp.a"
    left.parent.mkdir()
    left.touch()
    os.utime(left, (0, 0))
    monkeypatch.setattr(pathlib.Path, "iterdir", refuse)
    sweep(tmp_path / "run")
    assert not left.exists()
