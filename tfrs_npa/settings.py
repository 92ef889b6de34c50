"""Settings of trainings and searches other than hyper-parameters, and their allowed values.

Needs no TensorFlow, so that the command line can use it before it imports anything slow.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` from Python 3.11 on

from tfrs_npa._quoting import quoted

DATA_SETS = ("mind/synthetic", "mind/demo", "mind/small", "mind/large")
"""Names of data sets; anything else is a folder in MIND's format, or a log in Parquet files."""
_PREFIX = "mind/"
SPLITS = ("train", "validation", "test")
TUNERS = ("hyperband", "random", "bayesian", "grid")
TOKENIZERS = ("unicode", "mind", "whitespace")
"""Ways to split titles into words, see `tfrs_npa.data.tokenizers.tokenize`."""
DEFAULT_TOKENIZER = "unicode"
EARLIER_TOKENIZER = "mind"
"""What models, runs and searches that name no tokenizer were made with."""
DTYPES = ("float32", "bfloat16")
"""Types that encoded titles can be kept in."""
PRECISIONS = ("float32", "bfloat16")
"""Types that a training can compute in, see `tfrs_npa.runs.precision`."""
MIRRORED, MULTI_WORKER, PARAMETER_SERVER = "mirrored", "multi-worker", "parameter-server"
STRATEGIES = (MIRRORED, MULTI_WORKER, PARAMETER_SERVER)
"""Ways to train on more than one device, see `tfrs_npa.runs.strategies`."""

ENCODING_MEMORY = 4 * 2**30
"""Bytes that the encoded titles of a catalogue may take during an evaluation."""
CACHE_BYTES = 10 * 2**30
"""Bytes that the cache of preprocessed data may take."""
DEFAULT_K = 10
"""Number of articles to recommend."""
RERANKINGS = ("mmr", "calibrated")
"""Ways to re-rank the best articles, see `tfrs_npa.retrieval.reranking`."""
TRADE_OFF = 0.3
"""What the other aim of a re-ranking counts."""
POOL = 100
"""Number of articles that a re-ranking chooses from."""
KEPT_VERSIONS = 3
"""Versions of an export that a refresh leaves."""
DEFAULT_TRIALS = 20
"""Number of trials of a tuner that would otherwise never stop."""
CHECKPOINT_EVERY = 10.0
"""Minutes after which a training saves a checkpoint within an epoch."""
CHIEF_TIMEOUT = 300.0
"""Seconds that processes wait for each other to start."""
SECONDS_PER_DAY = 86_400


def require_tokenizer(name: str) -> None:
    """Raises a ValueError if there is no tokenizer of that name."""
    if name not in TOKENIZERS:
        raise ValueError(
            f"tokenizer is {quoted(name)}; it has to be one of {', '.join(TOKENIZERS)}"
        )


def is_data_set(name: str) -> bool:
    """Whether data is named as a data set, and not by its folder."""
    return name.startswith(_PREFIX)


def parquet_logs(name: str) -> dict[str, str]:
    """Returns the Parquet files of a log by split: a single file is called `train`.

    Args:
        name: A file; or a folder, whose files are `train.parquet` and so on.

    Returns:
        The files that exist; nothing if it is neither.
    """
    if os.path.isfile(name):
        return {"train": name}
    files = {split: os.path.join(name, f"{split}.parquet") for split in SPLITS}
    return {split: file for split, file in files.items() if os.path.isfile(file)}


def require_data(
    name: str,
    manual_dir: str | os.PathLike[str] | None = None,
    news: str | os.PathLike[str] | None = None,
) -> None:
    """Makes sure that there is a data set, a folder or a log of that name.

    Args:
        name: One of `DATA_SETS`, a folder, or a Parquet file.
        manual_dir: Folder of zips; None: there is none.
        news: Parquet file of the articles; None: there is none.

    Raises:
        ValueError: if there is not, or the folder of zips or the file of articles does not exist or
            does not go with the data.
    """
    is_log = not is_data_set(name) and bool(parquet_logs(name))
    if name not in DATA_SETS and not is_log and (is_data_set(name) or not os.path.isdir(name)):
        kind = "data set" if is_data_set(name) else "file or folder"
        raise ValueError(
            f"there is no {kind} {name}; give a folder in MIND's format, a log in Parquet, or "
            f"{', '.join(DATA_SETS)}"
        )
    if is_log and news is None:
        raise ValueError(
            f"news is missing: {name} is read as a log in Parquet, whose articles are in another "
            "Parquet file, with the columns news_id and title (--news)"
        )
    if news is not None:
        if not is_log:
            raise ValueError(f"news goes with a log in Parquet; {name} has articles of its own")
        if not os.path.isfile(news):
            raise ValueError(f"there is no file {os.fspath(news)} of news")
    if manual_dir is not None and not os.path.isdir(manual_dir):
        raise ValueError(f"the manual folder {manual_dir} does not exist")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Source of the impressions and word vectors, and the holdout.

    Attributes:
        data: One of `DATA_SETS`, a folder, or a Parquet file; see `tfrs_npa.load_mind`.
        data_dir: Where TensorFlow Datasets keeps the data it has prepared.
        manual_dir: Folder of MIND's zips that were downloaded by hand.
        word_vectors: File of pretrained word vectors, text or `.npy`.
        word_list: The words of an `.npy` file.
        tokenizer: How titles are split into words; see `tfrs_npa.data.tokenizers.tokenize`.
        holdout: The impressions that epochs are compared on. `last-day`: the last day of the
            training impressions, which is then not trained on. `none`: none. `auto`: the split
            `validation` if there is a labelled `test` to report on, else `last-day`.
        news: Parquet file of the articles, if `data` is a log in Parquet.
        article_vectors: An `.npy` file of vectors of articles, see `tfrs_npa.ArticleVectors`.
        article_ids: Text file of their ids, one a line.
        user_buckets: Number of buckets that users are hashed to, see `UserIndex.hashed`; None: each
            user has an index of their own.

    Raises:
        ValueError: if the holdout or the tokenizer is unknown, a word list is given without `.npy`
            vectors, or one of the two files of article vectors without the other, or there is no
            bucket.
    """

    data: str
    data_dir: str | None = None
    manual_dir: str | None = None
    word_vectors: str | None = None
    word_list: str | None = None
    holdout: str = "auto"
    news: str | None = None
    tokenizer: str = DEFAULT_TOKENIZER
    article_vectors: str | None = None
    article_ids: str | None = None
    user_buckets: int | None = None

    HOLDOUTS: ClassVar[tuple[str, ...]] = ("auto", "last-day", "none")

    def __post_init__(self) -> None:
        self._require_one_of("holdout", self.HOLDOUTS)
        require_tokenizer(self.tokenizer)
        is_array = (self.word_vectors or "").endswith(".npy")
        if is_array != (self.word_list is not None):
            raise ValueError(
                "word vectors in an .npy file need a word list, and a word list needs such a file"
            )
        if (self.article_vectors is None) != (self.article_ids is None):
            raise ValueError("vectors of articles need their ids, and ids need vectors")
        if self.user_buckets is not None:
            self._require_at_least("user_buckets", 1, 2**31 - 2)

    @classmethod
    def from_saved(cls, values: Mapping[str, Any]) -> Self:
        """Returns settings that were saved as a dict, in this version or an earlier one.

        Args:
            values: Settings by name.

        Raises:
            TypeError: if a name is unknown, or `data` is missing.
            ValueError: if a value is out of range.
        """
        return cls(**{"tokenizer": EARLIER_TOKENIZER, **values})

    def _require_one_of(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f"{name} is {quoted(value)}; it has to be one of {', '.join(choices)}")

    def _require_at_least(self, name: str, least: int, most: int = 10**6) -> None:
        value = getattr(self, name)
        if value < least:
            raise ValueError(f"{name} is {quoted(value)}; it has to be at least {least}")
        if value > most:
            raise ValueError(f"{name} is {quoted(value)}; it has to be at most {most:,}")


@dataclasses.dataclass(frozen=True)
class TrainingSettings(DataSettings):
    """Settings of a training other than its hyper-parameters.

    The attributes of `DataSettings` come first.

    Attributes:
        holdout: The impressions that early stopping monitors, see `DataSettings`; with `none`, the
            training lasts all `epochs`.
        epochs: The most passes over the training impressions.
        patience: Passes without a better `val_auc` after which the training stops.
        precision: One of `PRECISIONS`: what the model computes in, when it is trained and wherever
            it is loaded from its run. Weights are float32 in either.

    Raises:
        ValueError: if a value is out of range, or as `DataSettings`.
    """

    epochs: int = 2
    patience: int = 2
    precision: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_one_of("precision", PRECISIONS)
        self._require_at_least("epochs", 1)
        self._require_at_least("patience", 1)


@dataclasses.dataclass(frozen=True)
class SearchSettings(DataSettings):
    """Settings of a search other than its space.

    The attributes of `DataSettings` come first.

    Attributes:
        holdout: The impressions that the objective `val_auc` is measured on, see `DataSettings`;
            not `none`.
        tuner: One of `TUNERS`.
        epochs: Passes of a trial over the training impressions; with Hyperband, the most.
        max_trials: The most trials; None: `DEFAULT_TRIALS` for `random` and `bayesian`, and as many
            as they plan themselves for the others.
        seed: Seed for choosing trials; the seed of the trainings is part of the space.

    Raises:
        ValueError: if a value is out of range, or as `DataSettings`.
    """

    tuner: str = "hyperband"
    epochs: int = 10
    max_trials: int | None = None
    seed: int = 42

    # A search needs impressions to measure its trials on.
    HOLDOUTS: ClassVar[tuple[str, ...]] = ("auto", "last-day")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_one_of("tuner", TUNERS)
        self._require_at_least("epochs", 1)
        self._require_at_least("seed", 0, 2**32 - 1)
        if self.max_trials is not None:
            self._require_at_least("max_trials", 1)
