"""`tfrs-npa train`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from tfrs_npa._quoting import shortened
from tfrs_npa._yaml import parse_yaml
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.options import (
    DATA,
    add_article_vectors,
    add_data,
    add_result_folder,
    add_tokenizer,
    add_user_buckets,
    add_word_vectors,
    cache_of,
    require_inputs,
    require_same,
    require_vectors,
    settings_given,
    tokenizer_of,
)
from tfrs_npa.config import PRESETS, NPAConfig
from tfrs_npa.runs.cluster import Cluster
from tfrs_npa.runs.processes import GONE
from tfrs_npa.runs.run import Run
from tfrs_npa.settings import (
    CHECKPOINT_EVERY,
    MIRRORED,
    MULTI_WORKER,
    PRECISIONS,
    STRATEGIES,
    TrainingSettings,
)

SUMMARY = "train a model and evaluate it"
DESCRIPTION = f"""\
Trains NPA and evaluates it on impressions that the training never looked at.

The data is {DATA}.
The folder has train/, valid/ or dev/, and possibly test/, each with news.tsv and behaviors.tsv.
The zips of demo, small and large are downloaded, or taken from --manual-dir without any network.
A log is a Parquet file with the columns user_id, history, candidates and clicked, of which the last
three hold lists, and time: its last day is the validation split. Or it is a folder with
train.parquet, and possibly validation.parquet and test.parquet.

Metrics are reported on the test split if it is labelled, else on the validation split. Early
stopping looks at the validation split in the first case, and in the second at the last day of
training, which is then not trained on (--holdout). The untrained model is epoch 0: if no epoch has
a better AUC, it is the model of the run.

The metrics are those of NPA and of baselines that need no training: random scores, popularity, the
cosine of title vectors, and the ratio of two densities of title vectors, that of the user's clicks
and that of everyone's.
"""
EPILOG = """\
examples:
  tfrs-npa train --data mind/synthetic --preset small --run runs/demo
  tfrs-npa train --data my-data --config npa.yaml --set dropout=0.1 --set seed=7 --run runs/mine
  tfrs-npa train --data log.parquet --news news.parquet --run runs/own
  tfrs-npa train --run runs/mine --resume
  tfrs-npa train --from runs/yesterday --data today --epochs 1 --run runs/today
  tfrs-npa train --strategy parameter-server --data my-data --run runs/large

exit codes:
  0 success, 2 bad input, 130 interrupted, 143 terminated
  of a process of a cluster also 69: another that it needs did not start, or is gone
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    add_result_folder(parser.add_argument_group("the run"), "run")
    data = parser.add_argument_group("data")
    add_data(data, f"{DATA} (required to start a run)")
    data.add_argument(
        "--holdout",
        choices=TrainingSettings.HOLDOUTS,
        help="what early stopping looks at: the last day of training, or nothing (train for all "
        "--epochs); default: auto, see above",
    )
    model = parser.add_argument_group("hyper-parameters")
    start = model.add_mutually_exclusive_group()
    start.add_argument(
        "--from",
        dest="start_from",
        metavar="DIR",
        help="continue from the model of another run, with its hyper-parameters, on newer data; "
        "words, articles and users of the data are added",
    )
    start.add_argument("--preset", metavar="NAME", help=", ".join(PRESETS))
    start.add_argument(
        "--config", metavar="FILE", help="YAML with our names, or Recommenders' npa.yaml"
    )
    model.add_argument("--seed", type=int, metavar="N", help="seed of weights and batches")
    model.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one hyper-parameter, applied last; can be repeated",
    )
    model.add_argument(
        "--drop-unseen",
        type=int,
        metavar="N",
        help="with --from, drop words, articles and users that the last N trainings have not seen "
        "(default: keep all)",
    )
    add_word_vectors(model)
    add_article_vectors(model)
    add_tokenizer(model)
    add_user_buckets(model)
    course = parser.add_argument_group("course")
    course.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help=f"most epochs (default: {TrainingSettings.epochs})",
    )
    course.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="stop after this many epochs without a better AUC (default: "
        f"{TrainingSettings.patience})",
    )
    course.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="what the model computes in; weights and scores are float32 in either (default: that "
        f"of the run of --from, else {TrainingSettings.precision})",
    )
    course.add_argument(
        "--checkpoint-every",
        type=float,
        default=CHECKPOINT_EVERY,
        metavar="MINUTES",
        help="save a checkpoint within an epoch too, from which --resume continues, unless many "
        "processes train (default: %(default)g)",
    )
    devices = parser.add_argument_group(
        "many devices",
        f"With {MIRRORED}, all GPUs of this machine. Else the same command runs in each process of "
        "a cluster, and TF_CONFIG says which that is, as TensorFlow documents it: worker 0 (or the "
        f"chief) writes the run with {MULTI_WORKER}; the chief trains with parameter-server, and "
        "workers and ps serve it. See docs/distributed.md.",
    )
    devices.add_argument(
        "--strategy", choices=STRATEGIES, help="strategy of tf.distribute (default: one device)"
    )


def run(options: argparse.Namespace) -> int:
    """Starts or resumes a training in a run folder, and prints the metrics; returns the exit code.

    In a process of a cluster that does not write the run, it prints nothing.
    """
    cluster = Cluster.from_environment(options.strategy)
    if cluster is not None and cluster.is_server:
        import_tensorflow()
        from tfrs_npa.runs.strategies import serve

        serve(cluster)  # ends the process
    require_inputs(options)
    if not options.checkpoint_every >= 0:
        raise ValueError(
            f"--checkpoint-every is {options.checkpoint_every:g}; it has to be at least 0 minutes"
        )
    given = settings_given(options, TrainingSettings)
    if options.resume:
        _require_same(options, given)
    else:
        if "data" not in given:
            raise ValueError("--data is missing: give the data to train on")
        _require_start(options)
        config = _config(options)
        inherited = {"tokenizer": _tokenizer(options)} | _inherited(options)
        settings = TrainingSettings(**inherited | given)
        require_vectors(settings)
        Run.check_free(options.run, options.overwrite)
    import_tensorflow()
    from tfrs_npa.runs.strategies import TaskGone
    from tfrs_npa.runs.train import resume, train

    verbose, cache = int(sys.stdout.isatty()), cache_of(options)
    strategy = options.strategy if cluster is None else cluster
    try:
        if options.resume:
            metrics = resume(options.run, verbose, cache, strategy, options.checkpoint_every)
        else:
            metrics = train(
                options.run,
                settings,
                config,
                options.overwrite,
                verbose,
                cache,
                options.start_from,
                options.drop_unseen,
                strategy,
                options.checkpoint_every,
            )
    except TaskGone as gone:
        print(f"tfrs-npa: error: {gone}", file=sys.stderr)
        return GONE
    except KeyboardInterrupt as interrupt:
        if not pathlib.Path(options.run, Run.settings_name).exists():
            raise
        hint = f"`tfrs-npa train --run {options.run} --resume` resumes the run"
        raise type(interrupt)(hint) from interrupt
    if cluster is None or cluster.is_chief:
        _print(metrics, Run(options.run))
    return 0


def _print(metrics: Mapping[str, Any], trained: Run) -> None:
    from tfrs_npa.metrics.table import evaluation_table

    print(evaluation_table(metrics))
    if trained.warm_start is not None:
        print(_origin(trained.warm_start))
    print(_course(trained))
    print(f"Run: {trained.path}")


def _course(run: Run) -> str:
    """Says which epoch was the best, and what the untrained model had."""
    from tfrs_npa.runs.callbacks import best_epoch, last_epoch

    history = run.history
    best, line = best_epoch(history), f"Epochs: {last_epoch(history)}"
    aucs = {int(row["epoch"]): row["val_auc"] for row in history if "val_auc" in row}
    if best in aucs:
        line += f"; val_auc {aucs[best]:.4f} after epoch {best}, the best"
    if 0 in aucs:
        start = "untrained" if run.warm_start is None else "before it was trained further"
        line += f", and {aucs[0]:.4f} {start}" if best else ": training has not improved it"
    return line


def _origin(warm_start: Mapping[str, Any]) -> str:
    """Says what a training has taken over from another run."""
    changes = [
        f"{warm_start['added'][name]:,} {name} added, {dropped:,} dropped"
        for name, dropped in warm_start["dropped"].items()
    ]
    return f"Started from {warm_start['from']}: {'; '.join(changes)}"


def _config(options: argparse.Namespace) -> NPAConfig:
    """Returns the configuration that the options ask for."""
    return NPAConfig.from_dict(_changes(options), _base(options))


def _base(options: argparse.Namespace) -> NPAConfig:
    """Returns the configuration that `--set` and `--seed` change."""
    if options.config is not None:
        return NPAConfig.from_yaml(options.config)
    if options.preset is not None:
        return NPAConfig.preset(options.preset)
    if options.start_from is not None:
        return Run(options.start_from).config
    return NPAConfig()


def _require_start(options: argparse.Namespace) -> None:
    """Raises a ValueError if options contradict `--from`, or make no sense without it."""
    if options.drop_unseen is not None and options.start_from is None:
        raise ValueError("--drop-unseen needs --from, a run to drop words, articles and users of")
    if options.drop_unseen is not None and options.drop_unseen < 1:
        raise ValueError(f"--drop-unseen is {options.drop_unseen}; it has to be at least 1")
    if options.start_from is None:
        return
    if options.word_vectors is not None:
        raise ValueError("--word-vectors has no effect with --from: words keep their vectors")
    if options.tokenizer not in (None, Run(options.start_from).settings.tokenizer):
        raise ValueError("--tokenizer cannot change with --from: words keep their vectors")
    had = Run(options.start_from).settings.user_buckets
    if options.user_buckets not in (None, had):
        raise ValueError(
            f"--user-buckets cannot change with --from: {options.start_from} has "
            f"{'a row for each user' if had is None else f'{had:,} buckets'}"
        )
    if os.path.realpath(options.start_from) == os.path.realpath(options.run):
        raise ValueError(f"--run and --from are both {options.run}; give another folder to --run")


def _tokenizer(options: argparse.Namespace) -> str:
    """Returns the tokenizer of a training for which none is given."""
    if options.start_from is None:
        # Not of the changes: `--set` on a published preset is not to change the words too.
        return tokenizer_of(_base(options))
    return Run(options.start_from).settings.tokenizer


def _inherited(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings of the run to start from that a training has too, if there is one."""
    if options.start_from is None:
        return {}
    had = Run(options.start_from).settings
    return {"user_buckets": had.user_buckets, "precision": had.precision}


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    changes = {} if options.seed is None else {"seed": options.seed}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {shortened(text, 60)}: expected NAME=VALUE")
        changes[name.strip()] = parse_yaml(value, f"--set {shortened(text, 60)}")
    return changes


def _require_same(options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Raises a ValueError if a run is resumed with other options than it was started with."""
    run = Run(options.run)
    if options.start_from is not None or options.drop_unseen is not None:
        raise ValueError("--resume continues a run from where it was interrupted, without --from")
    had = dataclasses.asdict(run.settings) | run.config.to_dict()
    is_whole = options.config is not None or options.preset is not None
    config = _config(options) if is_whole else run.config.replace(**_changes(options))
    require_same(options.run, had, given | config.to_dict())
