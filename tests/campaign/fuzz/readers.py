"""Fuzzes the readers of files, guided by which branches of them an input reaches (`make fuzz`).

Each input is read as a `behaviors.tsv`, a `news.tsv`, predictions or YAML, which its first byte
says. The readers may raise a `ValueError` of one line and at most 500 characters, and nothing else;
and the reader of blocks has to find what the reader of lines does, the error included.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["tfrs_npa"]):
    import tfrs_npa._yaml
    from tfrs_npa.cli.messages import error_message
    from tfrs_npa.config import NPAConfig
    from tfrs_npa.datasets.mind import blocks, tsv
    from tfrs_npa.datasets.mind.columns import columns_of_rows
    from tfrs_npa.datasets.mind.predictions import read_predictions

SEEDS = (
    b"\x00"
    + b"1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0\n2\tU2\t11/12/2019 1:00:00 PM\t\tN1-0\n",
    b"\x00" + b"1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3 N4\n",
    b"\x01" + b"N1\tsports\tnfl\tThe team wins\tAn abstract\thttps://a.b\t[]\t[]\n",
    b"\x02" + b"1 [1,2,3]\n2 [2,1]\n",
    b"\x03" + b"num_filters: 40\nlearning_rate: 0.01\nattention: paper\n",
)
# Bytes of a block of lines: so few that inputs have several.
BLOCK = 64


def outcome(read):
    """Returns what a function returns, or the message of its ValueError, which has to be clear."""
    try:
        return read()
    except ValueError as error:
        message = error_message(error)
        assert len(message) <= 500 and "\n" not in message, message
        return message


def impressions(data: bytes) -> None:
    """Reads a `behaviors.tsv` by lines and by blocks."""

    def by_line():
        return columns_of_rows(tsv.read_behaviors(io.BytesIO(data), name="x.tsv"))

    def by_block():
        found = [block.columns() for block in blocks.blocks(io.BytesIO(data), "x.tsv", BLOCK)]
        return sum(len(columns.time) for columns in found)

    expected, found = outcome(by_line), outcome(by_block)
    if isinstance(expected, str):
        assert found == expected, (found, expected)
    else:
        assert found == len(expected.time)


def articles(data: bytes) -> None:
    """Reads a `news.tsv` by lines."""
    outcome(lambda: list(tsv.read_news(io.BytesIO(data), name="x.tsv")))


def predictions(data: bytes) -> None:
    """Reads a file of predictions."""
    FILE.write_bytes(data)
    outcome(lambda: list(read_predictions(FILE)))


def configuration(data: bytes) -> None:
    """Reads YAML, and a configuration in it."""
    text = data.decode("utf-8", "replace")
    outcome(lambda: tfrs_npa._yaml.parse_yaml(text, "x.yaml"))
    FILE.write_bytes(data)
    outcome(lambda: NPAConfig.from_yaml(FILE))


READERS = (impressions, articles, predictions, configuration)
FILE = pathlib.Path(tempfile.mkdtemp(), "x")


def one_input(data: bytes) -> None:
    """Reads an input as what its first byte says."""
    if data:
        READERS[data[0] % len(READERS)](data[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="default: 10")
    parser.add_argument("--corpus", required=True, metavar="DIR", help="inputs that were found")
    options = parser.parse_args()
    corpus = pathlib.Path(options.corpus)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed{number}").write_bytes(seed)
        one_input(seed)
    seconds = int(60 * options.minutes)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096"]
    atheris.Setup(
        [sys.argv[0], *limits, f"-artifact_prefix={corpus.parent}/", str(corpus)], one_input
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
