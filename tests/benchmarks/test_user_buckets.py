"""Users in buckets, on little data."""

import json

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config")


@pytest.fixture(scope="module")
def user_buckets(benchmark):
    return benchmark("user_buckets")


@pytest.mark.slow
def test_json(user_buckets, run_here, tmp_path, monkeypatch, tiny_preset, eager_functions):
    monkeypatch.setattr(user_buckets.scaling, "ARTICLES", 100)
    file = tmp_path / "buckets.json"
    small = ("--buckets", 50, 5000, "--steps", 2, "--ids", 4000, "--seeds", 0)
    output, _ = run_here(user_buckets, *small, "--json", file)
    result = json.loads(file.read_text())
    steps, memory, sharing = (table["rows"] for table in result["tables"])
    (ratio,) = result["measurements"]
    assert [row[0] for row in steps] == ["50", "5,000"] and ratio["at_most"] == 1.2
    assert ratio["value"] == pytest.approx(float(steps[1][-1]) / float(steps[0][-1]), rel=0.2)
    assert [row[0] for row in memory] == ["50", "4,000", "5,000"]
    assert [row[1].endswith("*") for row in memory] == [True, False, True]
    for _, *shares in sharing:
        expected, *found = (float(share.removesuffix(" %")) for share in shares)
        assert found == pytest.approx([expected] * 2, abs=3)
    assert "5,000" in output


@pytest.mark.slow
def test_quality(user_buckets, mind_folder, tiny_preset, eager_functions):
    aucs, cost = user_buckets.quality(str(mind_folder), 1, [1])
    none, as_many = aucs["rows"]
    assert cost["value"] == pytest.approx(float(as_many[1]) - float(none[1]), abs=2e-4)
    assert none[-1] == "0 %" and 30 < float(as_many[-1].removesuffix(" %")) < 100


def test_bad_options(user_buckets, run_here, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(user_buckets, "--steps", 0)
    assert "at least 1 of everything" in capsys.readouterr().err
