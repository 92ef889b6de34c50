"""Blocks and ranges of lines, against the file as a whole."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.datasets.mind import blocks, read_behaviors
from tfrs_npa.datasets.mind.errors import MindFileError

GOOD = b"7\tU1\t11/15/2019 8:55:22 AM\tN1 N2\tN3-1 N4-0\n"
LINES = (GOOD, GOOD.replace(b"-1", b"").replace(b"-0", b""), b"\n", b"\r\n", b"7\tU1\n", b"\xff\n")


def outcome(read):
    try:
        return list(read())
    except MindFileError as error:
        return str(error)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from((GOOD, *LINES)), max_size=7), st.integers(1, 3))
def test_blocks_give_what_the_file_gives(lines, size):
    def in_blocks():
        for block in blocks.blocks(io.BytesIO(b"".join(lines)), "x.tsv"):
            yield from block.impressions()

    before, blocks._LINES = blocks._LINES, size
    try:
        found = outcome(in_blocks)
    finally:
        blocks._LINES = before
    assert found == outcome(lambda: read_behaviors(io.BytesIO(b"".join(lines)), name="x.tsv"))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=4).map(lambda line: b"." + line), max_size=6), st.data())
def test_ranges_give_each_line_once(lines, data):
    text = b"\n".join(line.replace(b"\n", b"") for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    ranges = zip([0, *cuts], [*cuts, len(text)])
    found = [line for range_ in ranges for line in blocks.lines_between(io.BytesIO(text), *range_)]
    assert found == list(io.BytesIO(text))


def test_a_range_that_ends_in_an_empty_line_goes_on():
    file = io.BytesIO(b"a\n\n\nb\nc\n")
    assert list(blocks.lines_between(file, 0, 3)) == [b"a\n", b"\n", b"\n", b"b\n"]
    assert list(blocks.lines_between(file, 5, 6)) == []
