"""`tfrs-npa export`."""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
from typing import TYPE_CHECKING

from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.options import (
    DATA,
    add_article_vectors,
    add_data,
    cache_of,
    data_of,
    ids_in,
    require_inputs,
    require_none,
)
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import DTYPES, KEPT_VERSIONS

if TYPE_CHECKING:
    from tfrs_npa.models.npa import NPA

SUMMARY = "write a SavedModel for TensorFlow Serving"
DESCRIPTION = """\
Writes the best model of a run as a SavedModel that TensorFlow Serving loads, with its articles'
titles encoded. Every export is a version of its own: a folder with a number for its name.

With --refresh, the last version in a folder becomes the next one, with articles added and
withdrawn: it takes neither run nor data, and encodes new titles only.

Signatures (strings in, strings out, lists padded with ""):
  score            user_id, history, candidates                 -> scores (serving_default)
  score_titles     user_id, history, titles                     -> scores
  recommend        user_id, history, k, exclusions, candidates  -> news_id, scores
  encode           user_id, history                             -> user_vectors
  encode_articles  user_id, candidates                          -> article_vectors
  explain          user_id, history, candidates                 -> scores, weights of words, clicks

score_with_titles and recommend_with_titles also take the titles of articles that are not known:
history_titles beside history, candidate_titles beside candidates.
"""
EPILOG = """\
examples:
  tfrs-npa export --run runs/demo --to exports/npa
  tfrs-npa export --run runs/demo --to exports/npa --version 20260101 --dtype bfloat16
  tfrs-npa export --run runs/demo --to exports/npa --data todays-log --recommendable news.tsv
  tfrs-npa export --refresh exports/npa --news today.tsv --withdraw expired.txt
"""


# Options that a refresh has no use for.
_OF_RUN = (
    *("run", "to", "version", "dtype", "recommendable"),
    *("data", "data_dir", "manual_dir", "cache_dir", "no_cache"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("--run", metavar="DIR", help="folder of the run")
    parser.add_argument("--to", metavar="FOLDER", help="folder of the versions, created if missing")
    refresh = parser.add_argument_group("refresh")
    refresh.add_argument(
        "--refresh",
        metavar="FOLDER",
        help="folder of the versions, instead of --run and --to; --news has the articles to add, "
        "a news.tsv or a Parquet file",
    )
    refresh.add_argument(
        "--withdraw",
        metavar="FILE",
        help="articles that may not be recommended any more: one id a line, or as --news; "
        "histories still know them",
    )
    refresh.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help=f"versions to keep, the new one included (default: {KEPT_VERSIONS})",
    )
    add_article_vectors(refresh)
    parser.add_argument("--version", type=int, metavar="N", help="default: the next free number")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="type of the encoded titles; bfloat16 takes 60 %% of the space, and scores differ "
        f"a little (default: {DTYPES[0]})",
    )
    parser.add_argument(
        "--recommendable",
        metavar="FILE",
        help="articles that may be recommended: one id a line, a news.tsv or a Parquet file; the "
        "others can be scored, and histories know them (default: all)",
    )
    add_data(parser, f"add the articles of all its splits: {DATA}")


def run(options: argparse.Namespace) -> None:
    """Writes the best model of a run as a SavedModel, or refreshes one; prints how to use it."""
    require_inputs(options)
    if options.refresh is not None:
        require_none(options, _OF_RUN, "--refresh")
        _refresh(options)
        return
    require_none(options, ("withdraw", "keep", "article_vectors", "article_ids"), "--run")
    if options.news is not None and options.data is None:
        raise ValueError("--news needs --data, a log in Parquet that it has the articles of")
    if options.run is None or options.to is None:
        raise ValueError("give --run and --to, or --refresh")
    if options.version is not None and options.version < 1:
        raise ValueError(f"--version is {options.version}; it has to be at least 1")
    trained = Run(options.run)
    recommendable = None if options.recommendable is None else ids_in(options.recommendable)
    import_tensorflow()
    from tfrs_npa.serving.export import export

    model = trained.load_model()
    if options.data is not None:
        data = data_of(options, trained, cache_of(options))
        for split in data.splits:
            model.add_articles(data.titles(split))
    dtype = options.dtype or DTYPES[0]
    path = export(model, options.to, options.version, dtype, recommendable)
    print(_report(path, model, recommendable))


def _refresh(options: argparse.Namespace) -> None:
    if options.news is None and options.withdraw is None:
        raise ValueError("--refresh needs --news, --withdraw, or both")
    if (options.article_vectors is None) != (options.article_ids is None):
        raise ValueError("--article-vectors and --article-ids go together")
    withdraw = [] if options.withdraw is None else ids_in(options.withdraw)
    keep = KEPT_VERSIONS if options.keep is None else options.keep
    import_tensorflow()
    from tfrs_npa.data.article_vectors import ArticleVectors
    from tfrs_npa.serving.refresh import refresh_export

    vectors = None
    if options.article_vectors is not None:
        vectors = ArticleVectors.load(options.article_vectors, options.article_ids)
    print(refresh_export(options.refresh, options.news, withdraw, keep, vectors))


def _report(path: pathlib.Path, model: NPA, recommendable: list[str] | None) -> str:
    """Says what was written to `path`, and two ways to use it."""
    from tfrs_npa.data.catalog import FIRST_ARTICLE
    from tfrs_npa.serving.warm_up import example_requests

    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    folder = path.parent.resolve()
    request = example_requests(model)["recommend"]
    articles = len(model.catalog) - FIRST_ARTICLE
    choice = articles if recommendable is None else len(set(recommendable))
    request |= {"history": [request["history"][0][:2]], "k": min(choice, 3)}
    inputs = ";".join(f"{name}={json.dumps(value)}" for name, value in request.items())
    lines = [
        f"{path}: {articles:,} articles, {choice:,} of which may be recommended, "
        f"{size / 1e6:,.1f} MB",
        "",
        "Ask it here:",
        f"  saved_model_cli run --dir {shlex.quote(str(path))} --tag_set serve \\",
        f"    --signature_def recommend --input_exprs {shlex.quote(inputs)}",
        "Serve it:",
        f"  docker run -p 8501:8501 -v {shlex.quote(f'{folder}:/models/{folder.name}')} \\",
        f"    -e MODEL_NAME={shlex.quote(folder.name)} tensorflow/serving",
    ]
    return "\n".join(lines)
