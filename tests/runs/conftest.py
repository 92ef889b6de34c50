"""Data of the trainings."""

from __future__ import annotations

import pytest

from tfrs_npa.datasets.mind import SyntheticWorld, write_behaviors, write_news


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in MIND's format that a model is trained on in a second or two."""
    path = tmp_path_factory.mktemp("mind-format")
    world = SyntheticWorld(users=30, articles=100, impressions=(60, 20, 20))
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        write_news(path / name / "news.tsv", world.news(split))
        write_behaviors(path / name / "behaviors.tsv", world.behaviors(split))
    return path
