"""The TFDS dataset `mind`: the MIcrosoft News Dataset, and a synthetic one of the same shape."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from . import published, synthetic, synthetic_log, tsv
from .alone import alone, really_random
from .errors import MindFileError
from .sequence import Sequence

_HOMEPAGE = "https://msnews.github.io/"

# File order is kept by keys that count up. Beyond a buffer in memory, TFDS sorts records in 1,000
# buckets on disk, by the top bits of their 128-bit keys; so keys have to spread over those bits, or
# all records meet in one bucket, which is then sorted in memory. This has room for 2^24 records
# (seven times MIND-large), 16,778 to a bucket.
_KEY_SHIFT = 128 - 24
_BUFFER_BYTES = 16 << 20


@dataclasses.dataclass(eq=False)
class MindConfig(tfds.core.BuilderConfig):
    """What to build.

    Attributes:
        size: `synthetic`, `demo`, `small` or `large`.
        table: `behaviors` (impressions) or `news` (articles).
    """

    size: str = "small"
    table: str = "behaviors"


_CONTENTS = {
    "small": "50,000 sampled users and their log",
    "demo": "5,000 sampled users and their log",
    "large": "the whole log of one million sampled users; the test split has no labels",
    "synthetic": "a made-up log of the same shape, with known preferences; nothing to download",
}
# The synthetic site has versions of its own: when it changes, MIND that was prepared stays valid.
_SYNTHETIC_VERSION = "2.0.0"
_SYNTHETIC_NOTES = {
    "2.0.0": "A larger site, closer to MIND: 15,000 to 20,000 words by Zipf's law, 26,000 "
    "articles, mixed tastes, 60 % of the candidates after training are new.",
    "1.0.0": "First release: 570 words, 8,000 articles, 84 kinds of users.",
}


class Builder(tfds.core.GeneratorBasedBuilder):
    """Impressions and articles of a news site; see README.md."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [
        MindConfig(
            name=f"{size}-{table}",
            description=f"{'Impressions' if table == 'behaviors' else 'Articles'}: {contents}.",
            size=size,
            table=table,
            version=_SYNTHETIC_VERSION if size == "synthetic" else None,
            release_notes=_SYNTHETIC_NOTES if size == "synthetic" else {},
        )
        for size, contents in _CONTENTS.items()
        for table in ("behaviors", "news")
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = published.MANUAL_DOWNLOAD_INSTRUCTIONS

    # Set when the data set is generated.
    _on_beam = False

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=_news() if self.builder_config.table == "news" else _behaviors(),
            homepage=_HOMEPAGE,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        size, table = self.builder_config.size, self.builder_config.table
        in_blocks = self._on_beam and size != "synthetic" and table == "behaviors"
        readers: dict[str, Callable[[], Iterable[Any]]]
        if size == "synthetic":
            world = synthetic.SyntheticWorld()
            if table == "behaviors":
                self.info.metadata["reference_auc"] = world.reference_auc()
            read: Callable[..., Iterable[Any]] = getattr(world, table)
            readers = {split: functools.partial(read, split) for split in synthetic_log.SPLITS}
        else:
            read = published.read_blocks if in_blocks else functools.partial(published.read, table)
            readers = {
                split: functools.partial(read, archive, size, split)
                for split, archive in published.locate(dl_manager, size).items()
            }
        if not self._on_beam:
            return {split: self._generate_examples(readers[split]()) for split in readers}
        from . import on_beam

        make = on_beam.impressions if in_blocks else on_beam.rows
        return {split: make(readers[split]) for split in readers}

    def _generate_examples(
        self, examples: Iterable[dict[str, Any]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, example in enumerate(examples):
            yield number << _KEY_SHIFT, example

    def download_and_prepare(self, **options: Any) -> None:
        """Prepares the data as TFDS does, unless it is; if another process does so, waits for it.

        Args:
            options: As those of TFDS.
        """
        with alone(self.data_path.parent), really_random():
            super().download_and_prepare(**options)
        if not self.info.splits:  # which another process has prepared meanwhile
            self.info.read_from_directory(self.data_path)

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        runner, options = download_config.beam_runner, download_config.beam_options
        self._on_beam = runner is not None or options is not None
        with _small_buffer(), contextlib.ExitStack() as stack:
            if self._on_beam:
                from .on_beam import errors_of_workers, require_known

                if options is not None:
                    require_known(options, runner)
                stack.enter_context(errors_of_workers(MindFileError))
            super()._download_and_prepare(dl_manager, download_config)


def _behaviors() -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict(
        {
            "impression_id": tfds.features.Scalar(
                np.int64, doc="Number of the impression, unique within a split only."
            ),
            "user_id": tfds.features.Text(doc="Who saw the impression."),
            "time": tfds.features.Scalar(
                np.int64, doc="When, in seconds since the epoch; the log's clock taken as UTC."
            ),
            "history": Sequence(
                tfds.features.Text(),
                doc="Ids of the articles that the user had clicked before, oldest first; can be "
                "empty, and can repeat an id.",
            ),
            "candidates": Sequence(
                {
                    "news_id": tfds.features.Text(doc="Id of an article that was shown."),
                    "clicked": tfds.features.Scalar(
                        np.int64,
                        doc="1 clicked, 0 not clicked, -1 not known (test split of large).",
                    ),
                },
                doc="The articles of the impression.",
            ),
        }
    )


def _news() -> tfds.features.FeaturesDict:
    docs = {
        "news_id": "Id of the article, unique within a split; splits share articles.",
        "category": "Section of the site.",
        "subcategory": "Subsection of the site.",
        "title": "Headline.",
        "abstract": "Summary; can be empty.",
        "url": "Address.",
        "title_entities": "Wikidata entities of the title: a JSON list, rarely empty text.",
        "abstract_entities": "Wikidata entities of the abstract: a JSON list, rarely empty text.",
    }
    return tfds.features.FeaturesDict(
        {column: tfds.features.Text(doc=docs[column]) for column in tsv.NEWS_COLUMNS}
    )


@contextlib.contextmanager
def _small_buffer() -> Iterator[None]:
    """Has TFDS turn to the disk early; as it comes, it first fills 1 GB of memory."""
    before = shuffle.MAX_MEM_BUFFER_SIZE
    shuffle.MAX_MEM_BUFFER_SIZE = _BUFFER_BYTES
    try:
        yield
    finally:
        shuffle.MAX_MEM_BUFFER_SIZE = before
