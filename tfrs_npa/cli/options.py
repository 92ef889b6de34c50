"""Options that several subcommands share, and what they stand for."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfrs_npa._quoting import quoted
from tfrs_npa.settings import (
    CACHE_BYTES,
    DATA_SETS,
    DEFAULT_TOKENIZER,
    EARLIER_TOKENIZER,
    ENCODING_MEMORY,
    TOKENIZERS,
    DataSettings,
    is_data_set,
    require_data,
)

if TYPE_CHECKING:
    from tfrs_npa.config import NPAConfig
    from tfrs_npa.data.cache import Cache
    from tfrs_npa.data.loading import MindData
    from tfrs_npa.models.npa import NPA
    from tfrs_npa.runs.run import Run

DATA = f"{', '.join(DATA_SETS)}, a folder in MIND's format, or a log in Parquet (with --news)"
_GIB = 2**30
_PATHS = (
    "data_dir",
    "manual_dir",
    "word_vectors",
    "word_list",
    "news",
    "article_vectors",
    "article_ids",
)


def add_result_folder(parser: argparse._ActionsContainer, kind: str) -> None:
    """Adds the folder that a training or a search writes, and what to do if it exists.

    Args:
        parser: The parser or group to add to.
        kind: The kind of folder, `run` or `search`.
    """
    parser.add_argument("--run", required=True, metavar="DIR", help=f"folder of the {kind}")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite",
        action="store_true",
        help=f"replace an existing {kind}, unless other files are in its folder",
    )
    existing.add_argument(
        "--resume",
        action="store_true",
        help=f"resume an interrupted {kind}, which keeps its settings",
    )


def add_data(parser: argparse._ActionsContainer, help: str, news: str = "--news") -> None:  # noqa: A002
    """Adds `--data`, and where data is read from and kept; `news` names the option for articles."""
    parser.add_argument("--data", metavar="NAME|DIR|FILE", help=help)
    parser.add_argument(
        news,
        dest="news",
        metavar="FILE",
        help="articles: those of a log in Parquet, a Parquet file with news_id and title",
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where TensorFlow Datasets keeps prepared data"
    )
    parser.add_argument(
        "--manual-dir", metavar="DIR", help="folder of MIND's zips that were downloaded by hand"
    )
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument(
        "--cache-dir",
        metavar="DIR",
        help=f"where preprocessed data is kept, at most {CACHE_BYTES / _GIB:g} GB "
        "(default: tfrs-npa in $XDG_CACHE_HOME or ~/.cache)",
    )
    cache.add_argument("--no-cache", action="store_true", help="keep no preprocessed data")


def add_word_vectors(parser: argparse._ActionsContainer) -> None:
    """Adds pretrained word vectors."""
    parser.add_argument(
        "--word-vectors", metavar="FILE", help="pretrained vectors: GloVe or word2vec text, .npy"
    )
    parser.add_argument("--word-list", metavar="FILE", help="words of an .npy file, one a line")


def add_article_vectors(parser: argparse._ActionsContainer) -> None:
    """Adds vectors of articles."""
    parser.add_argument(
        "--article-vectors",
        metavar="FILE",
        help="vectors of articles that were computed elsewhere, such as sentence embeddings: .npy",
    )
    parser.add_argument("--article-ids", metavar="FILE", help="ids of their rows, one a line")


def add_user_buckets(parser: argparse._ActionsContainer) -> None:
    """Adds the number of buckets that users share."""
    parser.add_argument(
        "--user-buckets",
        type=int,
        metavar="N",
        help="hash users to N buckets, which have a row of the user table each, and keep no ids; "
        "for tens of millions of users (default: a row for each user)",
    )


def add_tokenizer(parser: argparse._ActionsContainer) -> None:
    """Adds how titles are split into words."""
    parser.add_argument(
        "--tokenizer",
        choices=TOKENIZERS,
        help="how titles are split into words: in any language, as published code does, or at "
        "white space alone (default: mind with a published preset, else unicode)",
    )


def tokenizer_of(config: NPAConfig) -> str:
    """Returns the tokenizer of a configuration for which none is given."""
    return EARLIER_TOKENIZER if config.is_published else DEFAULT_TOKENIZER


def add_encoding_memory(parser: argparse._ActionsContainer) -> None:
    """Adds the memory that encoded titles may take."""
    parser.add_argument(
        "--encoding-memory",
        type=at_least_zero,
        metavar="GIB",
        help="memory for the words of encoded titles; if it is too little, they are encoded again "
        f"and again, slower and with the same metrics (default: {ENCODING_MEMORY / _GIB:g})",
    )


def at_least_zero(text: str) -> float:
    """Returns the number, for `add_argument(type=...)`."""
    with contextlib.suppress(ValueError):
        number = float(text)
        if number >= 0:
            return number
    raise argparse.ArgumentTypeError(f"{text} is not a number of at least 0")


def ids_in(path: str) -> list[str]:
    """Returns the article ids of a file: one a line, or those of a `news.tsv` or Parquet file.

    Raises:
        ValueError: if a line holds no id, or several; names the file and the line.
    """
    content = pathlib.Path(path).read_bytes()
    if b"\t" in content or content.startswith(b"PAR1"):
        from tfrs_npa.data.loading import articles_in

        return [article["news_id"] for article in articles_in(path)]
    try:
        # Errors of utf-8-sig do not count the bytes of the mark that it removes.
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{number}: not UTF-8; convert the file to UTF-8") from error
    # Only a line feed ends a line, and only blanks are not part of an id.
    ids = [line.strip(" \r") for line in text.removesuffix("\n").split("\n")] if text else []
    for number, one in enumerate(ids, start=1):
        if not one or " " in one:
            raise ValueError(
                f"{path}:{number}: expected the id of an article, found {quoted(one)}; give a file "
                "with one id a line, a news.tsv or a Parquet file"
            )
    return ids


def cache_of(options: argparse.Namespace) -> Cache | None:
    """Returns the cache that `--cache-dir` and `--no-cache` ask for."""
    from tfrs_npa.data.cache import Cache, default_cache_dir

    return None if options.no_cache else Cache(options.cache_dir or default_cache_dir())


def data_of(options: argparse.Namespace, run: Run | None, cache: Cache | None) -> MindData:
    """Returns the data that `--data` names, or that the run was trained on, if there is one."""
    from tfrs_npa.data.loading import load_mind

    name, data_dir, manual_dir = options.data, options.data_dir, options.manual_dir
    news = options.news
    if name is None and run is not None:
        settings = run.settings
        name = settings.data
        data_dir = data_dir or settings.data_dir
        manual_dir = manual_dir or settings.manual_dir
        news = news or settings.news
    # TensorFlow Datasets reports what it prepares on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        return load_mind(name, data_dir, manual_dir, cache, news)


def model_of(options: argparse.Namespace, run: Run) -> NPA:
    """Returns the best model of a run, with the memory that `--encoding-memory` grants it."""
    model = run.load_model()
    if options.encoding_memory is not None:
        model.encoding_memory = options.encoding_memory * _GIB
    return model


def settings_given(options: argparse.Namespace, type_: type[DataSettings]) -> dict[str, Any]:
    """Returns the settings that the options give, by name; paths become absolute."""
    names = [field.name for field in dataclasses.fields(type_)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    paths = [name for name in _PATHS if name in given]
    if "data" in given and not is_data_set(given["data"]):
        paths.append("data")
    return given | {name: os.path.abspath(given[name]) for name in paths}


def require_inputs(options: argparse.Namespace) -> None:
    """Raises a ValueError if `--data`, `--manual-dir` or `--news` names nothing that exists."""
    if getattr(options, "data", None) is not None:
        require_data(options.data, options.manual_dir, options.news)


def require_none(options: argparse.Namespace, names: Sequence[str], mode: str) -> None:
    """Raises a ValueError if options are given that do not go with another.

    Args:
        options: All options.
        names: Names of those that do not.
        mode: The other option, such as `--export`.
    """
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name)]
    if given:
        raise ValueError(f"{', '.join(given)} cannot be given with {mode}")


def require_vectors(settings: DataSettings) -> None:
    """Raises an OSError if the files of word vectors or of article vectors do not exist."""
    words = settings.word_vectors, settings.word_list
    for path in (*words, settings.article_vectors, settings.article_ids):
        if path is not None:
            os.stat(path)


def require_same(
    folder: str, had: Mapping[str, Any], given: Mapping[str, Any], others: Sequence[str] = ()
) -> None:
    """Raises a ValueError if a run or search is resumed with other options than it has.

    Args:
        folder: Its folder.
        had: All its settings by name.
        given: The settings given now.
        others: What else differs, in words.
    """
    differ = [f"{name} {had[name]!r}, not {v!r}" for name, v in given.items() if had[name] != v]
    differ += others
    if differ:
        raise ValueError(
            f"{folder} was started with {', '.join(differ)}; --resume alone keeps its settings"
        )
