"""Words that stand out, of a world small enough to know by heart."""

import numpy as np
import pytest

READERS = {f"U{number}": [] for number in range(4)}
WORDS = ["alpha", "beta", "gamma", "of"]


class World:
    def topic_words(self):
        return {"alpha", "beta", "gamma"}

    def preferred_words(self, user):
        return {WORDS[int(user[1:]) % 2]}


class Explainer:
    """Readers pay attention to the first word; what they like adds most."""

    ids = [f"N{number}" for number in range(10)]

    def explain(self, user, histories, articles):
        words = np.array([[[*WORDS, ""]] * len(articles)], object)
        weights = np.array([[[0.4, 0.3, 0.1, 0.2, 0.0]] * len(articles)])
        return {"candidate_words": words, "candidate_word_weights": weights}

    def score_titles(self, user, history, titles):
        (liked,) = World().preferred_words(user)
        return np.array([float(liked in title.split()) for title in titles])


def test_standing_out(benchmark):
    (table,), measurements = benchmark("explanations").standing_out(
        Explainer(), World(), READERS, titles=3
    )
    rows = {row[0]: row[1:] for row in table["rows"]}
    # The first word is what every other reader likes, one topic word of three.
    assert rows["most attention"][0] == rows["most attention of an unknown user"][0] == "50.0 %"
    assert rows["adds most"] == ["100.0 %", "100.0 to 100.0 %", "100 %"]
    assert rows["chance"][0] == "33.3 %" and rows["most attention"][2] == "0 %"
    ratios = [measurement["value"] for measurement in measurements]
    assert ratios == pytest.approx([1.5, 3, 1.5])


def test_another_data_set(benchmark, run_here, mind_folder, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(benchmark("explanations"), "--run", tmp_path, "--readers", 1)
    assert "at least 2 readers" in capsys.readouterr().err
