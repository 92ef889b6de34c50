from __future__ import annotations

import dataclasses
import gc

import pytest

import tfrs_npa
from tfrs_npa.data.splits import load_splits
from tfrs_npa.settings import DataSettings


@pytest.fixture(scope="session", autouse=True)
def frozen():
    """Spares the garbage collector, which KerasTuner calls for each model, all that is imported."""
    gc.freeze()


@pytest.fixture(scope="session")
def base():
    """A configuration of a model that is quick to train."""
    return tfrs_npa.NPAConfig(
        title_length=5,
        history_length=4,
        word_embedding_dim=6,
        user_embedding_dim=3,
        num_filters=4,
        attention_dim=3,
        batch_size=64,
        learning_rate=0.01,
        dropout=0.2,
    )


@pytest.fixture(scope="session")
def loaded(mind_folder):
    """A catalogue, and few impressions to train on (a view) and to validate on."""
    catalog, splits = load_splits(DataSettings(str(mind_folder)))
    few = {"train": splits.train.view(slice(50)), "validation": splits.validation.take(slice(20))}
    return catalog, dataclasses.replace(splits, **few)


@pytest.fixture
def make(loaded, base):
    """Makes a hypermodel of a kind for a space of which nothing but `fields` is searched."""

    def make(kind, fields=(), **changes):
        catalog, splits = loaded
        space = tfrs_npa.SearchSpace(dict(fields), base.replace(**changes), others="pinned")
        return kind(catalog, splits.train, splits.validation, space, users=splits.users)

    return make
