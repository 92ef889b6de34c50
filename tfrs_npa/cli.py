"""What the commands of `tfrs-npa` do: read options, print results, report errors.

The options themselves are in `tfrs_npa_cli`, which needs no TensorFlow.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import sys
import warnings
from collections.abc import Iterator

import tensorflow_datasets as tfds
import yaml

from tfrs_npa.config import NPAConfig
from tfrs_npa.data.cache import Cache, default_cache_dir
from tfrs_npa.data.files import replacing
from tfrs_npa.data.mind import load_mind
from tfrs_npa.evaluation import evaluate_model, report
from tfrs_npa.run import Run
from tfrs_npa.training import resume, train
from tfrs_npa.training_settings import TrainingSettings
from tfrs_npa_cli import main as main

_PATHS = ("data_dir", "manual_dir", "word_vectors", "word_list")


def run(options: argparse.Namespace) -> int:
    """Runs a command.

    Args:
        options: what `tfrs_npa_cli.parser` made of the command line.

    Returns:
        The exit code: 0 for success, 2 for input that is not as it should be, 130 for Ctrl-C.
    """
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with _plain_messages():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        {"train": _train, "evaluate": _evaluate}[options.command](options)
    except KeyboardInterrupt:
        hint = ""
        if options.command == "train" and pathlib.Path(options.run, "training.yaml").exists():
            hint = f"; `tfrs-npa train --run {options.run} --resume` goes on"
        print(f"\ntfrs-npa: interrupted{hint}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"tfrs-npa: error: {_message(error)}", file=sys.stderr)
        return 2
    return 0


def _train(options: argparse.Namespace) -> None:
    names = [field.name for field in dataclasses.fields(TrainingSettings)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    for name in _PATHS:
        if name in given:
            given[name] = os.path.abspath(given[name])
    if "data" in given and not given["data"].startswith("mind/"):
        given["data"] = os.path.abspath(given["data"])
    verbose = int(sys.stdout.isatty())
    if options.resume:
        _require_same(options, given)
        figures = resume(options.run, verbose, _cache(options))
    elif "data" not in given:
        raise ValueError("--data is missing: what to train on")
    else:
        config = _config(options)
        settings = TrainingSettings(**given)
        figures = train(options.run, settings, config, options.overwrite, verbose, _cache(options))
    print(report(figures))
    print(f"Run: {options.run}")


def _evaluate(options: argparse.Namespace) -> None:
    trained = Run(options.run)
    settings = trained.settings
    if options.data is None:
        name = settings.data
        data_dir = options.data_dir or settings.data_dir
        manual_dir = options.manual_dir or settings.manual_dir
    else:
        name, data_dir, manual_dir = options.data, options.data_dir, options.manual_dir
    data = load_mind(name, data_dir, manual_dir, _cache(options))
    split = options.split or data.report_split
    if split not in data.behaviors:
        raise ValueError(f"{data.name} has no split {split}; it has {', '.join(data.behaviors)}")
    if not data.is_labelled(split):
        raise ValueError(f"the split {split} of {data.name} has no labels to measure by")
    model = trained.load_model()
    if options.encoding_memory is not None:
        model.encoding_memory = int(options.encoding_memory * 2**30)
    model.set_catalog(model.catalog.extend(data.titles(split)))
    impressions = data.impressions(split, model.catalog, model.users)
    figures = evaluate_model(
        model, data, split, impressions, trained.popularity, int(sys.stdout.isatty())
    )
    if options.json is not None:
        with replacing(options.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(report(figures))


def _cache(options: argparse.Namespace) -> Cache | None:
    return None if options.no_cache else Cache(options.cache_dir or default_cache_dir())


def _config(options: argparse.Namespace) -> NPAConfig:
    """The configuration that the options ask for."""
    if options.config is not None:
        config = NPAConfig.from_yaml(options.config)
    elif options.preset is not None:
        config = NPAConfig.preset(options.preset)
    else:
        config = NPAConfig()
    return NPAConfig.from_dict(_changes(options), config)


def _changes(options: argparse.Namespace) -> dict:
    changes = {} if options.seed is None else {"seed": options.seed}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: expected NAME=VALUE")
        try:
            changes[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {text}: {value!r} is not YAML") from error
    return changes


def _require_same(options: argparse.Namespace, given: dict) -> None:
    """Raises a ValueError if a run is to go on with other options than it was begun with."""
    begun = Run(options.run)
    had = dataclasses.asdict(begun.settings) | begun.config.to_dict()
    starts_anew = options.config is not None or options.preset is not None
    config = _config(options) if starts_anew else begun.config.replace(**_changes(options))
    differ = [
        f"{name} {had[name]!r}, not {value!r}"
        for name, value in (given | config.to_dict()).items()
        if had[name] != value
    ]
    if differ:
        raise ValueError(
            f"{options.run} was begun with {', '.join(differ)}; --resume alone takes all from it"
        )


@contextlib.contextmanager
def _plain_messages() -> Iterator[None]:
    """Has warnings and logs appear as single lines, each of them once."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    handler.addFilter(_Once())
    # TensorFlow: Keras grumbles at every checkpoint that a tower has no config of its own.
    levels = {"tfrs_npa": logging.INFO, "absl": logging.WARNING, "tensorflow": logging.ERROR}
    loggers = [logging.getLogger(name) for name in levels]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger, level in zip(loggers, levels.values(), strict=True):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)

    def show(message, category, filename, lineno, file=None, line=None):
        loggers[0].warning(" ".join(str(message).split()))

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class _Formatter(logging.Formatter):
    def format(self, record):
        prefix = "tfrs-npa: warning: " if record.levelno >= logging.WARNING else ""
        return prefix + record.getMessage()


class _Once(logging.Filter):
    """Lets the same words through once: a file that is read twice is as odd the second time."""

    def __init__(self):
        super().__init__()
        self._seen = set()

    def filter(self, record):
        message = record.getMessage()
        seen = message in self._seen
        self._seen.add(message)
        return not seen


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
