from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.datasets.mind import MindFileError
from tfrs_npa.datasets.mind.predictions import prediction_lines, read_predictions

FILES = st.dictionaries(
    st.integers(0, 2**63 - 1),
    st.integers(1, 30).flatmap(lambda size: st.permutations(range(1, size + 1))),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(FILES)
def test_what_is_written_is_read(tmp_path_factory, ranks):
    path = tmp_path_factory.getbasetemp() / "prediction.txt"
    splits = np.cumsum([0, *map(len, ranks.values())])
    packed = np.concatenate([*map(np.array, ranks.values())])
    path.write_text("".join(prediction_lines(np.array([*ranks]), packed, splits)))
    assert [*read_predictions(path)] == [(key, list(value)) for key, value in ranks.items()]


def test_the_format(tmp_path):
    """That of the leaderboard: no spaces between ranks, nothing after the bracket."""
    lines = prediction_lines(np.array([7, 3]), np.array([2, 1, 3, 1]), np.array([0, 3, 4]))
    assert [*lines] == ["7 [2,1,3]\n", "3 [1]\n"]
    path = tmp_path / "prediction.txt"
    path.write_bytes(b"7 [2,1,3]\r\n3 [1]")
    assert [*read_predictions(path)] == [(7, [2, 1, 3]), (3, [1])]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2 [1,2", "'2 [1,2' is not like '17 [2,1,3]'"),
        ("2 [1, 2]", "is not like"),
        ("2 []", "is not like"),
        ("2\t[1,2]", "is not like"),
        ("U2 [1,2]", "is not like"),
        ("-2 [1,2]", "is not like"),
        ("2 [1,2] ", "is not like"),
        (f"{2**63} [1,2]", "'9223372036854775808 [1,2]' is not like"),
        ("2 [1,0.5]", "is not like"),
        ("2 [1,2\xb2]", "is not like"),
        (f"2 [{'9' * 5000}]", "9..."),
        ("", "'' is not like"),
        ("2 [1,3,1]", "rank 1 is there twice, rank 2 is missing: each from 1 to 3,"),
        ("2 [0,1,2]", "rank 0 is no rank, rank 3 is missing"),
        ("2 [4,1,2]", "rank 4 is too large, rank 3 is missing"),
        ("9 [1,2]", "repeats impression 9 of line 1"),
    ],
)
def test_a_bad_line(tmp_path, line, expected):
    path = tmp_path / "prediction.txt"
    path.write_text(f"9 [1]\n{line}\n4 [1]\n")
    with pytest.raises(MindFileError) as caught:
        [*read_predictions(path)]
    assert str(caught.value).startswith(f"{path}, line 2: ") and expected in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_bad_file(tmp_path):
    path = tmp_path / "prediction.txt"
    with pytest.raises(MindFileError, match="no such file"):
        [*read_predictions(path)]
    path.touch()
    with pytest.raises(MindFileError, match="the file is empty"):
        [*read_predictions(path)]
    path.write_bytes(b"PK\x03\x04\xff\x00")
    with pytest.raises(MindFileError, match="line 1: .* is not like"):
        [*read_predictions(path)]


def test_a_wrong_rank_among_many(tmp_path):
    """In linear time: it took two minutes when each rank was counted by itself."""
    path = tmp_path / "prediction.txt"
    path.write_text(f"9 [{','.join(map(str, [*range(1, 40_000), 1]))}]\n")
    with pytest.raises(MindFileError, match="rank 1 is there twice, rank 40000 is missing"):
        [*read_predictions(path)]
