"""Five days of a made-up site: what a warm start has to be good for."""

from __future__ import annotations

import csv

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

DAYS = 5
SIZES = ["--users", 1200, "--articles", 6000, "--impressions", 800, "--window", 2]


@pytest.fixture(scope="module")
def month(example):
    return example("month_of_a_site")


@pytest.fixture(scope="module")
def five_days(month, run_here, tmp_path_factory, eager_functions):
    """The folder of a simulation, and what it printed."""
    # Few steps, since each takes long where nothing is traced.
    month.CONFIG = month.CONFIG.replace(batch_size=256)
    folder = tmp_path_factory.mktemp("month")
    options = ["--days", DAYS, *SIZES, "--folder", folder, "--plot", folder / "month.png"]
    return folder, run_here(month, *options)


def rows_of(folder):
    with (folder / "days.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def column(folder, name):
    return np.array([row[name] for row in rows_of(folder)])


def test_a_warm_start_needs_a_fraction_of_the_steps(five_days):
    folder, _ = five_days
    warm, scratch = (column(folder, name) for name in ("warm", "from scratch"))
    # Day 2 follows one day only: there both are the same model.
    assert warm[0] == pytest.approx(scratch[0])
    assert np.mean(warm[1:]) >= np.mean(scratch[1:])
    trained_on = [column(folder, f"{name} impressions")[2:].mean() for name in ("warm", "scratch")]
    assert trained_on[0] < 0.6 * trained_on[1]
