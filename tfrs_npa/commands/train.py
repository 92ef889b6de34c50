"""`tfrs-npa train`."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from typing import Any

import yaml

from tfrs_npa.commands.options import cache_of, require_same, settings_given
from tfrs_npa.config import NPAConfig
from tfrs_npa.evaluation import report
from tfrs_npa.run import Run
from tfrs_npa.training import resume, train
from tfrs_npa.training_settings import TrainingSettings


def run(options: argparse.Namespace) -> None:
    """Trains into a run folder, or goes on with a training, and prints the figures."""
    given = settings_given(options, TrainingSettings)
    try:
        figures = _figures(options, given)
    except KeyboardInterrupt as interrupt:
        if not pathlib.Path(options.run, "training.yaml").exists():
            raise
        hint = f"`tfrs-npa train --run {options.run} --resume` goes on"
        raise KeyboardInterrupt(hint) from interrupt
    print(report(figures))
    print(f"Run: {options.run}")


def _figures(options: argparse.Namespace, given: dict) -> dict[str, Any]:
    verbose = int(sys.stdout.isatty())
    cache = cache_of(options)
    if options.resume:
        _require_same(options, given)
        return resume(options.run, verbose, cache)
    if "data" not in given:
        raise ValueError("--data is missing: what to train on")
    settings = TrainingSettings(**given)
    return train(options.run, settings, _config(options), options.overwrite, verbose, cache)


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
    require_same(options.run, had, given | config.to_dict())
