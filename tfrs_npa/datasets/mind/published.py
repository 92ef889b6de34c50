"""The published files of MIND: where they come from, and their known sizes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from .archives import Archive
from .blocks import Block, blocks
from .errors import MindFileError
from .tsv import read_behaviors, read_news

logger = logging.getLogger(__name__)

DOWNLOADS = "https://huggingface.co/datasets/Recommenders/MIND/resolve/main"
MANUAL_DOWNLOAD_INSTRUCTIONS = """\
With network, nothing has to be done. Without, put the zips of MIND into the manual folder, or the
folders that they were extracted to: MINDsmall_train.zip and MINDsmall_dev.zip (or a folder
MINDsmall_train/ with news.tsv and behaviors.tsv, and so on), the same for MINDdemo, and for
MINDlarge also MINDlarge_test.zip. https://msnews.github.io/ says where to get them. The manual
folder is <data_dir>/downloads/manual, or what is given to `tfds build` as --manual_dir, or to
tfds.load as download_and_prepare_kwargs={"download_config":
tfds.download.DownloadConfig(manual_dir=...)}.
"""

_BLOCK_BYTES = 1 << 19  # about a thousand lines, so that all workers have some
_RETRIES = 4
_SECONDS_TO_ANSWER = 8
_SECONDS_TO_STALL = 60  # in the middle of a download
_NAMES = {"train": "train", "validation": "dev", "test": "test"}  # of splits: ours, theirs


@dataclasses.dataclass(frozen=True)
class Published:
    """The published sizes of one file of MIND; None where unknown.

    Attributes:
        size: Bytes of the file. Several zips of the same files circulate, so their sizes tell less.
        rows: Lines, that is impressions or articles.
        candidates: Candidates of all impressions together.
    """

    size: int | None = None
    rows: int | None = None
    candidates: int | None = None


PUBLISHED = {
    ("demo", "train", "behaviors"): Published(14_707_247),
    ("demo", "train", "news"): Published(23_120_370),
    ("demo", "validation", "behaviors"): Published(4_434_762),
    ("demo", "validation", "news"): Published(15_624_320),
    ("small", "train", "behaviors"): Published(92_019_716, 156_965, 5_843_444),
    ("small", "train", "news"): Published(41_202_121, 51_282),
    ("small", "validation", "behaviors"): Published(42_838_544, 73_152, 2_740_998),
    ("small", "validation", "news"): Published(33_519_092, 42_416),
    ("large", "train", "behaviors"): Published(1_373_844_151, 2_232_748, 83_507_374),
    ("large", "train", "news"): Published(84_881_998, 101_527),
    ("large", "validation", "behaviors"): Published(230_662_527, 376_471, 14_085_557),
    ("large", "validation", "news"): Published(59_055_351, 72_023),
    ("large", "test", "behaviors"): Published(None, 2_370_727),
    ("large", "test", "news"): Published(None, 120_961),
}


def locate(dl_manager: tfds.download.DownloadManager, size: str) -> dict[str, Archive]:
    """Returns the archive of each split, from the manual folder or else by download.

    Args:
        dl_manager: Of the build.
        size: `demo`, `small` or `large`.

    Raises:
        MindFileError: A download fails, or an archive is damaged or incomplete.
    """
    names = {
        split: f"MIND{size}_{name}"
        for split, name in _NAMES.items()
        if (size, split, "news") in PUBLISHED
    }
    paths = _find(dl_manager, names)
    urls = {split: f"{DOWNLOADS}/{names[split]}.zip" for split in names if split not in paths}
    if urls:
        logger.warning("Downloading %s. %s", ", ".join(urls.values()), _instructions())
        try:
            with _fail_fast():
                paths |= dl_manager.download(urls)
        except (OSError, tfds.download.DownloadError) as error:
            raise MindFileError(
                f"cannot download {' and '.join(urls.values())} ({_root(error)}). {_instructions()}"
            ) from None
        except NonMatchingChecksumError as error:
            # The first line names the file, and where it came from; checksums follow.
            what = str(error).partition("\n")[0].rstrip(":")
            raise MindFileError(
                f"{what}: it is damaged, or no longer what it was when this package was made."
                f" Delete it and start again, which downloads it again. {_instructions()}"
            ) from None
    return {split: Archive(paths[split]) for split in names}


def read(table: str, archive: Archive, size: str, split: str) -> Iterator[dict[str, Any]]:
    """Yields the examples of a file, and logs a warning where it is not the published one.

    Args:
        table: `behaviors` or `news`.
        archive: The split.
        size: `demo`, `small` or `large`.
        split: `train`, `validation` or `test`.

    Raises:
        MindFileError: The file has a bad line, or the zip is damaged.
    """
    published = PUBLISHED[size, split, table]
    name = archive.name(table)
    _compare(name, "bytes", archive.size(table), published.size)
    rows = candidates = 0
    reader: Callable[..., Iterator[dict[str, Any]]] = (
        read_news if table == "news" else read_behaviors
    )
    with archive.open(table) as file:
        for example in reader(file, name=name):
            rows += 1
            if table == "behaviors":
                candidates += len(example["candidates"]["news_id"])
            yield example
    _compare(name, "rows", rows, published.rows)
    _compare(name, "candidates", candidates, published.candidates)


def read_blocks(archive: Archive, size: str, split: str) -> Iterator[Block]:
    """Yields `behaviors.tsv` in blocks that `Block.impressions` parses, and warns as `read`.

    Args:
        archive: The split.
        size: `demo`, `small` or `large`.
        split: `train`, `validation` or `test`.

    Raises:
        MindFileError: The first line is bad, or the zip is damaged.
    """
    published = PUBLISHED[size, split, "behaviors"]
    name = archive.name("behaviors")
    _compare(name, "bytes", archive.size("behaviors"), published.size)
    rows = candidates = 0
    with archive.open("behaviors") as file:
        for block in blocks(file, name, _BLOCK_BYTES):
            lines = block.lines.split(b"\n")
            counts = [len(line.rpartition(b"\t")[2].split()) for line in lines]
            rows += sum(map(bool, counts))
            candidates += sum(counts)
            yield block
    _compare(name, "rows", rows, published.rows)
    _compare(name, "candidates", candidates, published.candidates)


@contextlib.contextmanager
def _fail_fast() -> Iterator[None]:
    """Lets TFDS try a download 5 times in 3 seconds, instead of 11 times in 204.

    It also waits forever, with neither connection nor answer, in a network that swallows packets.
    So a server is first asked whether it answers at all.
    """
    retries, open_url = downloader.MAX_RETRIES, downloader._open_url

    def open_if_answered(url, verify=True, **kwargs):
        _require_answer(url, verify)
        return open_url(url, verify=verify, timeout=_SECONDS_TO_STALL, **kwargs)

    downloader.MAX_RETRIES, downloader._open_url = _RETRIES, open_if_answered
    try:
        yield
    finally:
        downloader.MAX_RETRIES, downloader._open_url = retries, open_url


def _require_answer(url: str, verify: bool) -> None:
    """Raises an OSError unless a server answers in time, whatever it answers."""
    errors: list[OSError] = [TimeoutError(f"no answer within {_SECONDS_TO_ANSWER} s")]

    def ask():
        requests = downloader.requests
        try:
            requests.head(url, timeout=_SECONDS_TO_ANSWER, verify=verify, allow_redirects=True)
            errors.clear()
        except OSError as error:
            errors[:] = [error]

    # A thread: the timeout is that of each address of the server, after its name was looked up.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_SECONDS_TO_ANSWER)
    if errors:
        raise errors[0]


def _find(
    dl_manager: tfds.download.DownloadManager, names: dict[str, str]
) -> dict[str, epath.Path]:
    """Returns the folders and zips that are in the manual folder."""
    try:
        manual_dir = dl_manager.manual_dir
    except AssertionError:  # what TFDS raises when there is no such folder, or nothing in it
        return {}
    paths = [
        (split, manual_dir / f"{name}{suffix}")
        for split, name in names.items()
        for suffix in ("", ".zip")
    ]
    return {split: path for split, path in paths if path.exists()}


def _compare(name: str, what: str, found: int, expected: int | None) -> None:
    if expected not in (None, found):
        logger.warning(
            "%s has %d %s, the published file has %d; metrics on it may differ from published"
            " ones.",
            name,
            found,
            what,
            expected,
        )


def _instructions() -> str:
    return " ".join(MANUAL_DOWNLOAD_INSTRUCTIONS.split())


def _root(error: BaseException) -> BaseException:
    """Returns the first error of a chain: "Name or service not known" beneath three layers."""
    while error.__context__:
        error = error.__context__
    return error
