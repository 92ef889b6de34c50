"""Results of a comparison with Microsoft Recommenders: tables and measurements."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from against_recommenders import training_flops
from against_recommenders.comparison import (
    EVALUATION,
    PEAK,
    PRESET,
    RECIPE,
    THEIRS,
    TRAINED,
    TRAINING,
    Case,
    Comparison,
)
from against_recommenders.demo_sized_data import TITLE_LENGTH
from results_file import measurement, table

import tfrs_npa

# Ratios to the rates of Recommenders.
EVALUATION_TARGET, TRAINING_TARGETS = 500, {32: 4, 256: 6}
BFLOAT16_TARGETS = {32: 5, 256: 8}
MOST_DIFFERENCE = 1e-5  # of scores, probabilities of a click
# Their names of metrics, and ours.
METRICS = {"group_auc": "auc", "mean_mrr": "mrr", "ndcg@5": "ndcg_5", "ndcg@10": "ndcg_10"}


def describe(comparison: Comparison, evaluation_batch_size: int) -> dict[str, Any]:
    """Returns the arguments of `results_file.write`: tables, measurements and all rates.

    Args:
        comparison: The results.
        evaluation_batch_size: Impressions in a batch of ours.
    """
    impressions, candidates = _counts(comparison.data.valid)
    scored_impressions, scored = _counts(comparison.data.scored)
    articles, users = len(comparison.data.catalog), len(comparison.data.users)
    words = len(comparison.data.catalog.vocabulary)
    return {
        "title": "Against Microsoft Recommenders",
        "about": (
            f"Generated data in MIND's format ({articles:,} articles, {words:,} words, "
            f"{users:,} users), the dimensions of Recommenders' npa.yaml. Ours evaluates "
            f"{impressions:,} impressions with {candidates:,} candidates, encoding the catalogue "
            f"included; theirs the first {scored_impressions:,} of them, {scored:,} candidates, in "
            "batches of 32 candidates, as its npa.yaml says (ours: of "
            f"{evaluation_batch_size} impressions). "
            f"Medians of {len(comparison.cases[0].rates)} rounds in turn. Preset: the same model "
            "as theirs; recipe: `NPAConfig()` at the same dimensions; bfloat16: trained by "
            "`--precision bfloat16`."
        ),
        "versions": {
            "tfrs_npa": tfrs_npa.__version__,
            "recommenders": comparison.versions,
        },
        "tables": [
            _training(comparison),
            _evaluation(comparison),
            _scores(comparison),
            _share_of_peak(comparison),
        ],
        "measurements": _measurements(comparison),
        "cases": [_measured(case) for case in comparison.cases],
        "metrics": comparison.metrics,
        "reading_seconds": comparison.data.reading_seconds,
    }


def _counts(impressions: tfrs_npa.Impressions) -> tuple[int, int]:
    return len(impressions), int(impressions.candidate_splits[-1])


def _of_task(comparison: Comparison, task: str, system: str) -> list[Case]:
    return [case for case in comparison.cases if (case.task, case.system) == (task, system)]


def _counterpart(comparison: Comparison, case: Case, system: str) -> Case:
    """Returns the same case of another system."""
    return comparison.case(case.task, system, case.title_length, case.batch_size)


def _training(comparison: Comparison) -> dict[str, Any]:
    rows = []
    for theirs in _of_task(comparison, TRAINING, THEIRS):
        row = [str(theirs.title_length), str(theirs.batch_size), f"{theirs.rate:,.0f}"]
        for system in TRAINED:
            rate = _counterpart(comparison, theirs, system).rate
            row += [f"{rate:,.0f}", _times(rate / theirs.rate)]
        rows.append(row)
    headers = ["title length", "batch", THEIRS]
    for system in TRAINED:
        headers += [system, "times"]
    return table("Training, rows/s", headers, rows)


def _evaluation(comparison: Comparison) -> dict[str, Any]:
    theirs = comparison.case(EVALUATION, THEIRS, TITLE_LENGTH)
    rows = []
    for system in (THEIRS, PRESET, RECIPE):
        case = comparison.case(EVALUATION, system, TITLE_LENGTH)
        times = "" if system == THEIRS else _times(case.rate / theirs.rate)
        impressions = comparison.data.scored if system == THEIRS else comparison.data.valid
        candidates = _counts(impressions)[1]
        seconds, first = candidates / case.rate, case.first_call_seconds
        row = [system, f"{candidates:,}", f"{case.rate:,.0f}", times, f"{seconds:.2f}"]
        rows.append([*row, f"{first:.2f}"])
    headers = ["", "candidates", "candidates/s", "times", "s", "first call, s"]
    return table(f"Evaluation, title length {TITLE_LENGTH}", headers, rows)


def _scores(comparison: Comparison) -> dict[str, Any]:
    theirs, ours = comparison.scores[THEIRS], comparison.scores[PRESET]
    difference = np.abs(ours - theirs)
    rows = [
        ["candidates scored by both", f"{len(theirs):,}"],
        ["standard deviation of their scores", f"{theirs.std():.3f}"],
        ["largest absolute difference", f"{difference.max():.1e}"],
        ["largest relative difference", f"{(difference / theirs).max():.1e}"],
    ]
    for their_name, our_name in METRICS.items():
        values = comparison.metrics[THEIRS][their_name], comparison.metrics[PRESET][our_name]
        rows.append([f"{our_name}, theirs and ours", "{:.4f}, {:.4f}".format(*values)])
    return table("Scores (probabilities of a click) with the same weights", ["", ""], rows)


def _share_of_peak(comparison: Comparison) -> dict[str, Any]:
    peak = comparison.case(PEAK).rate
    rows = []
    for theirs in _of_task(comparison, TRAINING, THEIRS):
        for system in (THEIRS, PRESET, RECIPE):
            case = _counterpart(comparison, theirs, system)
            model = comparison.ours[PRESET if system == THEIRS else system, case.title_length]
            steps = case.rate / case.batch_size
            padded = 1e-9 * training_flops.padded(model.config, case.batch_size)
            row = [str(case.title_length), str(case.batch_size), system]
            row += [f"{padded:,.1f}", f"{padded * steps / peak:.0%}"]
            if system != THEIRS:
                packed, share = _packed_share(comparison, case, system)
                row += [f"{packed:,.1f}", f"{share:.0%}"]
            rows.append(row + [""] * (7 - len(row)))
    headers = ["title length", "batch", ""]
    headers += ["as published, GFLOP a step", "of the peak", "packed, GFLOP a step", "of the peak"]
    title = f"Training, share of the measured float32 peak of {peak:,.0f} GFLOPS"
    return table(title, headers, rows)


def _packed_share(comparison: Comparison, case: Case, system: str) -> tuple[float, float]:
    """Returns the GFLOP of a step without work done twice, and their share of the peak."""
    model = comparison.ours[system, case.title_length]
    packed = 1e-9 * model.packed_flops(case.batch_size)
    return packed, packed * case.rate / case.batch_size / comparison.case(PEAK).rate


def _measurements(comparison: Comparison) -> list[dict[str, Any]]:
    measurements = []
    for task in (EVALUATION, TRAINING):
        for theirs in _of_task(comparison, task, THEIRS):
            for system in TRAINED if task == TRAINING else (PRESET, RECIPE):
                case = _counterpart(comparison, theirs, system)
                name = f"{task}, times Recommenders, title length {case.title_length}"
                target = EVALUATION_TARGET
                if task == TRAINING:
                    name += f", batch {case.batch_size}"
                    is_half = system.endswith("bfloat16")
                    targets = BFLOAT16_TARGETS if is_half else TRAINING_TARGETS
                    target = targets.get(case.batch_size)
                name += f" ({system.removeprefix('ours, ')})"
                times = case.rate / theirs.rate
                measurements.append(measurement(name, times, target=target, compared=True))
    for system in (THEIRS, PRESET, RECIPE):
        first = comparison.case(EVALUATION, system, TITLE_LENGTH).first_call_seconds
        impressions = comparison.data.scored if system == THEIRS else comparison.data.valid
        name = f"evaluation of {_counts(impressions)[1]:,} candidates, first call, tracing included"
        name += f", seconds ({system.split()[-1]})"
        measurements.append(measurement(name, first))
    difference = np.abs(comparison.scores[PRESET] - comparison.scores[THEIRS]).max()
    name = "scores, largest difference from Recommenders' (preset)"
    measurements.append(measurement(name, float(difference), at_most=MOST_DIFFERENCE))
    for case in _of_task(comparison, TRAINING, RECIPE):
        name = f"training, share of the peak, title length {case.title_length}"
        name += f", batch {case.batch_size} (recipe)"
        measurements.append(measurement(name, _packed_share(comparison, case, RECIPE)[1]))
    return measurements


def _measured(case: Case) -> dict[str, Any]:
    values = {
        field.name: getattr(case, field.name)
        for field in dataclasses.fields(case)
        if field.name not in ("run", "most_steps")
    }
    if math.isnan(case.first_call_seconds):
        raise ValueError(f"{case.task} of {case.system} was never called first")
    unit = {TRAINING: "rows/s", EVALUATION: "candidates/s", PEAK: "GFLOPS"}[case.task]
    return values | {"unit": unit, "median": case.rate}


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 20 else f"{ratio:.1f}"
