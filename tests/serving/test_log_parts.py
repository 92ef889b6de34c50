"""Parts of a log, against the log as a whole."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.datasets.mind import MindFileError, SyntheticWorld, read_behaviors, write_behaviors
from tfrs_npa.serving import log_parts


@pytest.fixture(scope="module")
def tsv(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "behaviors.tsv"
    world = SyntheticWorld(users=60, articles=150, impressions=(60, 1, 1))
    write_behaviors(path, world.behaviors("train"))
    return path


@pytest.fixture
def sized(monkeypatch):
    """Sets how large parts are."""

    def sized(**sizes):
        for name, size in sizes.items():
            monkeypatch.setattr(log_parts, name, size)

    return sized


def impressions(log):
    """The ids of impressions, their users and their candidates, in order."""
    found = []
    for chunk in itertools.chain.from_iterable(p.chunks() for p in log_parts.parts_of(str(log))):
        assert 0 < len(chunk.user_id) <= log_parts.CHUNK
        ids = iter(chunk.candidates.to_pylist())
        lists = [list(itertools.islice(ids, length)) for length in chunk.candidate_lengths]
        found += zip(map(int, chunk.impression_id), chunk.user_id.to_pylist(), lists)
    return found


@pytest.mark.parametrize("bytes_", [1, 300, 5_000, 1 << 20])
def test_each_line_once_and_in_order(bytes_, tsv, sized):
    sized(_BYTES=bytes_, CHUNK=7)
    assert impressions(tsv) == [
        (row["impression_id"], row["user_id"], row["candidates"]["news_id"])
        for row in read_behaviors(tsv)
    ]


def test_files_without_ids_are_numbered_on(tmp_path, sized):
    sized(_ROWS=2)
    lists = {"history": [[]] * 3, "candidates": [["N"]] * 3, "clicked": [[1]] * 3}
    for day in "abc":
        table = pa.table({"user_id": [f"{day}{row}" for row in range(3)], **lists})
        pq.write_table(table, tmp_path / f"{day}.parquet")
    found = impressions(tmp_path / "*.parquet")
    assert [row[:2] for row in found] == list(
        enumerate(f"{day}{row}" for day in "abc" for row in range(3))
    )


def test_a_larger_log_has_larger_parts(tsv, sized):
    sized(_BYTES=1, _PARTS=5)
    parts = log_parts.parts_of(str(tsv))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert len(parts) == 5 and parts[-1].stop == tsv.stat().st_size


@pytest.mark.parametrize("rows", [400, 4000])
def test_each_row_is_decoded_a_few_times(rows, sized, tmp_path, monkeypatch):
    """However many rows a group has: reading takes time linear in the log."""
    sized(_ROWS=10)
    iter_batches, decoded = pq.ParquetFile.iter_batches, []

    def counted(file, *args):
        for batch in iter_batches(file, *args):
            decoded.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    log = tmp_path / "log.parquet"
    lists = {"history": [[]] * rows, "candidates": [["N"]] * rows, "clicked": [[1]] * rows}
    pq.write_table(pa.table({"user_id": ["U"] * rows, **lists}), log)
    assert len(impressions(log)) == rows
    parts = log_parts._PARTS_OF_GROUP
    assert rows * parts / 4 < sum(decoded) <= rows * (parts + 1) / 2


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_each_row_once_and_in_order(tmp_path_factory, chunk, part, group):
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    candidates = [[f"N{row}", "N"] for row in range(40)]
    columns = {"user_id": [f"U{row}" for row in range(40)], "history": [[]] * 40}
    table = pa.table({**columns, "candidates": candidates, "clicked": [[0, 1]] * 40})
    pq.write_table(table, path, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_parts, "_ROWS", part)
        patch.setattr(log_parts, "CHUNK", chunk)
        assert impressions(path) == list(zip(range(40), columns["user_id"], candidates))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace("\t", " ", 1), "line 41: 4 columns instead of 5"),
        (lambda line: line.replace("-1", "-7"), "line 41: candidate '.*-7' does not end in -1"),
        (lambda line: line.replace("-1", "").replace("-0", ""), "line 41: has no labels, unlike"),
        (lambda line: "\n" + line, "line 41: the line is empty"),
    ],
)
@pytest.mark.parametrize("bytes_", [300, 1 << 20])
def test_bad_lines(bytes_, change, message, tsv, sized, tmp_path):
    sized(_BYTES=bytes_)
    lines = tsv.read_text().splitlines(keepends=True)
    lines[40] = change(lines[40])
    log = tmp_path / "log.tsv"
    log.write_text("".join(lines))
    with pytest.raises(MindFileError, match=f"^{log}, {message}"):
        impressions(log)


def test_bad_rows(sized, tmp_path):
    sized(_ROWS=3, CHUNK=2)
    users = ["U", "U", "U", "U", None]
    lists = {"history": [[]] * 5, "candidates": [["N"]] * 5, "clicked": [[1]] * 5}
    log = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": users, **lists}), log)
    with pytest.raises(ValueError, match=rf"^{log}: row 4 \(the first is 0\) has no user_id$"):
        impressions(log)
