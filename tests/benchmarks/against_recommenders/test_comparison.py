"""The comparison, with a worker in place of Microsoft Recommenders, and its results."""

import argparse
import functools
import json
import types

import numpy as np
import pytest
from tabulate import tabulate

# tf.data keeps its functions whatever `eager_functions` says, and warns.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")

SMALL = {
    "data": {"his_size": 5, "word_emb_dim": 8, "npratio": 2},
    "model": {"user_emb_dim": 4, "filter_num": 8, "attention_hidden_dim": 4},
}


@pytest.fixture(scope="module")
def modules(benchmark):
    names = "comparison comparison_tables demo_sized_data matrix_product".split()
    return types.SimpleNamespace(
        **{name: benchmark(f"against_recommenders.{name}") for name in names}
    )


class FakeRecommenders:
    """Answers as a worker does; its scores are all one half."""

    def __init__(self, folder, candidates, log):
        self.folder, self.candidates, self.log = folder, candidates, log

    def __call__(self, command, **arguments):
        self.log.append(command)
        if command == "train":
            rows = arguments["steps"] * arguments["batch_size"]
            return {"rows": rows, "seconds": rows / 50}
        if command == "evaluate":
            metrics = {"group_auc": 0.5, "mean_mrr": 0.2, "ndcg@5": 0.3, "ndcg@10": 0.4}
            seconds = self.candidates / 200
            return {"candidates": self.candidates, "seconds": seconds, "metrics": metrics}
        if command == "score":
            np.save(arguments["path"], np.full(self.candidates, 0.5, np.float32))
            return {}
        return {"python": "3.10", "recommenders": "1.2.1", "tensorflow": "2.15.1"}


@pytest.fixture(scope="module")
def measured(modules, tmp_path_factory, eager_functions):
    """A comparison on small data, and the commands that the worker got."""
    folder, log = tmp_path_factory.mktemp("data"), []
    small_product = functools.partial(modules.matrix_product.MatrixProduct, size=100)
    args = argparse.Namespace(
        rounds=2, seconds=0.01, title_lengths=[10], batch_sizes=[4], evaluation_batch_size=20
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules.matrix_product, "MatrixProduct", small_product)
        for section, values in SMALL.items():
            for key, value in values.items():
                patch.setitem(modules.demo_sized_data.NPA_YAML[section], key, value)
        size = modules.demo_sized_data.Size(40, 200, 40, 20, words=60, scored_candidates=30)
        modules.demo_sized_data.write(folder, size, [10])
        data = modules.comparison.Data(folder)
        fake = FakeRecommenders(folder, int(data.scored.candidate_splits[-1]), log)
        yield modules.comparison.compare(folder, {10: fake}, args), log


def test_systems_are_measured_in_turn(modules, measured):
    comparison, log = measured
    theirs, ours = modules.comparison.THEIRS, modules.comparison.TRAINED
    systems = [case.system for case in comparison.cases]
    assert systems == [theirs, *ours, "", theirs, *ours[:2]]
    assert all(len(case.rates) == 2 and min(case.rates) > 0 for case in comparison.cases)
    assert all(case.first_call_seconds > 0 for case in comparison.cases)
    # Scores come before the first training step; then each round trains and evaluates.
    assert log[: log.index("train")] == ["evaluate", "score", "evaluate", "versions"]
    assert log[-4:] == ["train", "evaluate"] * 2


def test_models_are_the_same(modules, measured):
    comparison, _ = measured
    preset = comparison.ours[modules.comparison.PRESET, 10].config
    recipe = comparison.ours[modules.comparison.RECIPE, 10].config
    assert preset.num_filters == recipe.num_filters == 8
    assert not preset.mask_padding and recipe.mask_padding
    assert recipe.learning_rate != preset.learning_rate


def test_rates_count_what_was_done(modules, measured):
    comparison, _ = measured
    theirs = comparison.case("training", modules.comparison.THEIRS, 10, 4)
    assert theirs.rates == pytest.approx([50] * 2)
    evaluation = comparison.case("evaluation", modules.comparison.THEIRS, 10)
    assert evaluation.rate == pytest.approx(200)
    ours = comparison.ours[modules.comparison.PRESET, 10]
    assert ours.evaluation(1)[1] == len(comparison.data.valid.clicked)
    assert ours.training(4)(3)[1] == 12


def test_scores_are_probabilities_in_file_order(modules, measured):
    comparison, _ = measured
    scores = comparison.scores[modules.comparison.PRESET]
    assert scores.shape == comparison.data.scored.clicked.shape
    assert scores.min() > 0 and scores.max() < 1 and scores.std() > 0
    model = modules.comparison.Ours(
        comparison.ours[modules.comparison.PRESET, 10].config, comparison.data, 4
    )
    scores, metrics = model.scored()
    first = int(comparison.data.scored.candidate_splits[1])
    logits = model.model(next(iter(model.impressions(comparison.data.scored))))[0, :first]
    np.testing.assert_allclose(scores[:first], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert set(metrics) >= set(modules.comparison_tables.METRICS.values())


def test_results(modules, measured, benchmark, tmp_path):
    comparison, _ = measured
    described = modules.comparison_tables.describe(comparison, 256)
    benchmark("results_file").write(tmp_path / "results.json", **described)
    result = json.loads((tmp_path / "results.json").read_text())
    training, evaluation, scores, peak = result["tables"]
    ours = comparison.case("training", modules.comparison.PRESET, 10, 4)
    assert training["rows"][0][:4] == ["10", "4", "50", f"{ours.rate:,.0f}"]
    assert [row[0] for row in evaluation["rows"]] == [
        "Recommenders",
        "ours, preset",
        "ours, recipe",
    ]
    assert dict(scores["rows"])["auc, theirs and ours"].startswith("0.5000, ")
    assert [row[2] for row in peak["rows"]] == ["Recommenders", "ours, preset", "ours, recipe"]
    for table in result["tables"]:
        assert {len(row) for row in table["rows"]} == {len(table["headers"])}
        assert tabulate(table["rows"], table["headers"])
    measurements = {measurement["name"]: measurement for measurement in result["measurements"]}
    ratio = next(m for name, m in measurements.items() if name.startswith("training"))
    assert ratio["value"] == pytest.approx(ours.rate / 50) and "target" not in ratio
    assert result["measurements"][0]["target"] == 500
    cells = [
        [f"{m['value']:.2f}" for name, m in measurements.items() if "first call" in name],
        [f"{m['value']:.1e}" for name, m in measurements.items() if "largest difference" in name],
        [f"{m['value']:.0%}" for name, m in measurements.items() if "share of the peak" in name],
    ]
    assert cells[0] == [row[-1] for row in evaluation["rows"]]
    assert cells[1] == [dict(scores["rows"])["largest absolute difference"]]
    assert cells[2] == [row[-1] for row in peak["rows"] if row[2] == "ours, recipe"]
    difference = measurements["scores, largest difference from Recommenders' (preset)"]
    assert difference["at_most"] == 1e-5
    compared = [name for name, measurement in measurements.items() if measurement.get("compared")]
    assert compared == [name for name in measurements if "times Recommenders" in name]
    assert result["environment"]["recommenders"]["recommenders"] == "1.2.1"
    assert all(len(case["rates"]) == 2 for case in result["cases"])


def test_warm_up_chooses_steps_for_the_time(modules):
    given = []

    def run(steps):
        given.append(steps)
        return 0.1 * steps, steps

    case = modules.comparison.Case("training", "", run, most_steps=30)
    case.warm_up(seconds=2)
    assert case.steps == 20 and given == [2, 20]
    case.warm_up(seconds=60)
    assert case.steps == 30
    case.warm_up(seconds=0.001)
    assert case.steps == 1
