"""Steps that many models share, against those of a model by itself."""

from __future__ import annotations

import gc
import re
import weakref

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa
from tfrs_npa.models import shared_steps
from tfrs_npa.models.shared_steps import FREE_FIELDS, SharedSteps

# Another value of each free field than those of the tests' world.
OTHERS = {
    "history_length": 3,
    "history_sampling": "random",
    "history_rows": 0,
    "word_initializer": "normal",
    "center_words": False,
    "user_initializer": "normal",
    "filter_bias": 0.1,
    "logit_scale": 3.0,
    "uniform_attention": False,
    "dropout": 0.4,
    "pooling_dropout": 0.3,
    "user_dropout": 0.6,
    "negatives_per_positive": 3,
    "learning_rate": 0.02,
    "table_learning_rate": 0.03,
    "user_learning_rate": 0.04,
    "schedule": "cosine",
    "warmup_steps": 7,
    "batch_size": 5,
}
# All of the rates, because a rate of zero, or none of its own, is left out of a graph.
BASE = {
    "graph": True,
    "pooling_dropout": 0.1,
    "table_learning_rate": 0.02,
    "user_learning_rate": 0.03,
    "schedule": "linear",
}


@pytest.fixture
def traced(monkeypatch):
    """The graphs that have been traced, by name of the step."""
    graphs = []
    trace = shared_steps._traced

    def trace_and_keep(model, name, *rest):
        graph, positions = trace(model, name, *rest)
        graphs.append((name, graph.graph.as_graph_def()))
        return graph, positions

    monkeypatch.setattr(shared_steps, "_traced", trace_and_keep)
    return graphs


def run(steps, world, **kwargs):
    """Trains and evaluates a model with shared steps."""
    with steps.of(world.model):
        return world.fit(validation_data=world.impression_batches(), **kwargs)


def added(steps, world):
    steps.add(world.model)
    return world


def without_counters(graph):
    return re.sub(r'[-_/]\d+|"\d+"', "", str(graph))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["recipe", "recommenders", "paper"])
def test_graphs_depend_on_no_free_field(make_world, traced, form):
    assert OTHERS.keys() == set(FREE_FIELDS)
    fields = {**BASE, "published": form != "recipe"}
    if form != "recipe":
        fields |= {"attention": form, "mask_padding": form == "paper"}
    for changes in ({}, OTHERS):
        # Padding of the batches has a width of its own, which is none of the model's.
        own = {"negatives_per_positive": 2, "batch_size": 6, "history_length": 5}
        steps = SharedSteps()
        run(steps, added(steps, make_world(**{**fields, **changes, **own})))
    first, second = traced[:2], traced[2:]
    assert [name for name, _ in first] == [name for name, _ in second]
    for (_, ours), (_, others) in zip(first, second, strict=True):
        for graph in zip(ours.node, others.node, strict=True):
            assert len(set(map(without_counters, graph))) == 1, graph


@pytest.mark.slow
def test_shared_steps_are_the_steps_of_each_model(make_world, traced):
    steps = SharedSteps()
    tf.keras.utils.set_random_seed(7)  # a graph has the seed of its trace
    run(steps, added(steps, make_world(**BASE)))
    changes = {"learning_rate": 0.03, "dropout": 0.4, "user_dropout": 0.1, "schedule": "cosine"}
    ours, plain = (make_world(**{**BASE, **changes}) for _ in range(2))
    tf.keras.utils.set_random_seed(7)
    shared = run(steps, added(steps, ours))
    tf.keras.utils.set_random_seed(7)
    own = plain.fit(validation_data=plain.impression_batches())
    assert shared.keys() == own.keys()
    for name, values in own.items():
        np.testing.assert_allclose(shared[name], values, rtol=1e-5, err_msg=name)
    for a, b in zip(ours.model.get_weights(), plain.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert [name for name, _ in traced] == ["train_step", "test_step"]


@pytest.mark.slow
def test_two_models_take_turns(make_world, traced):
    """Each step reads and writes the variables of its own model."""
    steps = SharedSteps()
    worlds = [added(steps, make_world(**BASE, learning_rate=rate)) for rate in (0.01, 0.05)]
    before = [world.model.get_weights() for world in worlds]
    run(steps, worlds[0])
    for unchanged, weight in zip(before[1], worlds[1].model.get_weights(), strict=True):
        np.testing.assert_array_equal(unchanged, weight)
    with steps.of(worlds[0].model), steps.of(worlds[1].model):
        for world in (*worlds, *worlds):
            world.fit()
    iterations = [int(world.model.optimizer.iterations) for world in worlds]
    assert iterations[0] * 2 == iterations[1] * 3
    assert [name for name, _ in traced] == ["train_step", "test_step"]


def clip(world):
    world.model.compile(optimizer=tfrs_npa.default_optimizer(world.config, clipnorm=0.5))


def freeze(world):
    world.model.user_embedding.trainable = False
    world.model.compile(optimizer=tfrs_npa.default_optimizer(world.config))  # Keras asks for it


@pytest.mark.slow
@pytest.mark.parametrize("change", [clip, freeze])
def test_other_shapes_have_other_graphs(make_world, traced, change):
    steps = SharedSteps()
    for changes in (None, change, change):
        world = added(steps, make_world(**BASE))
        if changes:
            changes(world)
        run(steps, world)
    assert [name for name, _ in traced].count("train_step") == 2


@pytest.mark.slow
def test_the_graphs_of_few_shapes_are_kept(make_world, traced, monkeypatch):
    monkeypatch.setattr(shared_steps, "_MOST", 2)
    steps = SharedSteps()
    for filters in (3, 4, 3):
        run(steps, added(steps, make_world(**BASE, num_filters=filters)))
    assert len(traced) == 6


class Doubled(tfrs_npa.NPA):
    """A loss of its own."""

    def compute_loss(self, features, training=False):
        return 2 * super().compute_loss(features, training)


@pytest.mark.slow
def test_models_of_ones_own_keep_their_steps(make_world, traced):
    steps, worlds = SharedSteps(), [make_world(**BASE) for _ in range(4)]
    not_added, eager, replaced, subclass = worlds
    subclass.model = Doubled(subclass.config, subclass.catalog, subclass.users)
    subclass.model.compile(optimizer=tfrs_npa.default_optimizer(subclass.config))
    for world in (eager, replaced, subclass):
        steps.add(world.model)
    eager.model.run_eagerly = True
    replaced.model.task = type(replaced.model.task)(loss=replaced.model.task._loss)
    for world in worlds:
        run(steps, world)
        assert int(world.model.optimizer.iterations) > 0
    assert not traced


@pytest.mark.slow
def test_afterwards_a_model_is_as_before(make_world, traced):
    steps, world = SharedSteps(), make_world(**BASE)
    steps.add(world.model)
    options = tf.config.optimizer.get_experimental_options()
    numbers = [part.numbers.values for part in (world.model.user_embedding, world.model.optimizer)]
    run(steps, world)
    assert "train_step" not in vars(world.model) and "test_step" not in vars(world.model)
    parts = (world.model.user_embedding, world.model.optimizer)
    assert [part.numbers.values for part in parts] == numbers
    assert float(world.model.optimizer.learning_rate) < world.config.learning_rate
    assert tf.config.optimizer.get_experimental_options() == options
    trained = int(world.model.optimizer.iterations)
    world.model.compile(optimizer=world.model.optimizer, run_eagerly=True)
    world.fit()
    assert int(world.model.optimizer.iterations) == 2 * trained
    assert len(traced) == 2


@pytest.mark.slow
def test_graphs_keep_no_model(make_world):
    steps, world = SharedSteps(), make_world(**BASE)
    steps.add(world.model)
    run(steps, world)
    model = weakref.ref(world.model)
    table = weakref.ref(world.model.candidate_tower.word_table)
    world.model = None
    gc.collect()
    assert model() is None and table() is None
    # And the graph still serves.
    run(steps, added(steps, make_world(**BASE)))
