import pytest

from tfrs_npa._files import atomic_file


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
