"""What a step would run where: TensorFlow's wheel registers the kernels of GPUs on any machine."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import kernels

import tfrs_npa
from tfrs_npa.layers import sparse_products

SMALL = {
    "title_length": 6,
    "history_length": 5,
    "word_embedding_dim": 6,
    "user_embedding_dim": 4,
    "num_filters": 9,
    "attention_dim": 4,
    "background_titles": 3,
    "dropout": 0.1,
}
WHOLE = tf.TensorSpec([None, None], tf.int32)
BATCH = {
    "user_id": tf.TensorSpec([None], tf.int32),
    "history": WHOLE,
    "candidates": WHOLE,
    "clicked": WHOLE,
    "sample_weight": tf.TensorSpec([None], tf.float32),
}


def operations(function, *specs):
    """The operations of a function and of the functions that it calls."""
    graph_def = tf.function(function).get_concrete_function(*specs).graph.as_graph_def()
    bodies = {body.signature.name: body.node_def for body in graph_def.library.function}
    found = list(graph_def.node)
    for node in found:  # those of bodies too, which are appended meanwhile
        for value in node.attr.values():
            for name in (value.func.name, *(called.name for called in value.list.func)):
                found += bodies.pop(name, ())
    return found


def has_gpu_kernel(operation, attributes):
    """Whether a kernel for GPUs, or one for every device, takes the types of an operation."""
    return any(
        kernel.device_type in ("GPU", "DEFAULT")
        and all(
            attributes[constraint.name].type in constraint.allowed_values.list.type
            for constraint in kernel.constraint
            if constraint.allowed_values.list.type
        )
        for kernel in kernels.get_registered_kernels_for_op(operation).kernel
    )


def on_the_host(operations):
    """The operations, by name and types, that no GPU can run, or whose variable it cannot hold."""
    found = set()
    for node in operations:
        needed = [node.op]
        if node.op.startswith("Resource") or node.op.endswith("VariableOp"):
            needed.append("VarHandleOp")
        if not all(has_gpu_kernel(name, node.attr) for name in needed):
            types = [types_pb2.DataType.Name(value.type) for value in node.attr.values()]
            found.add((node.op, *sorted(set(types) - {"DT_INVALID"})))
    return found


def loops(operations):
    return [node.name for node in operations if node.op in ("While", "StatelessWhile")]


@pytest.fixture(scope="module")
def model_of(make_world):
    def build(config):
        world = make_world()
        model = tfrs_npa.NPA(config.replace(**SMALL), world.catalog, world.users)
        model.compile(optimizer=tfrs_npa.default_optimizer(model.config, 100))
        model.optimizer.build(model.trainable_variables)
        return model

    return build


# `NPAConfig()` differs from preset "small" in what `SMALL` sets alone.
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["small", "recommenders", "paper"])
def test_a_gpu_can_run_every_operation_of_a_step_and_none_is_a_loop(preset, model_of, monkeypatch):
    monkeypatch.setattr(sparse_products, "_on_gpu", lambda: True)
    model = model_of(tfrs_npa.NPAConfig.preset(preset))
    for step in (model.train_step, model.test_step, model.predict_step):
        found = operations(step, BATCH)
        assert on_the_host(found) == set()
        assert loops(found) == []


def test_what_no_gpu_can_run_is_found():
    variable = tf.Variable([1, 2, 3])

    def step(n):
        ragged = tf.cond(n > 0, lambda: tf.ragged.range(n).flat_values, lambda: n[tf.newaxis])
        return tf.gather(variable, ragged), tf.while_loop(lambda i: i < n, lambda i: i + 1, [0])

    found = operations(step, tf.TensorSpec([], tf.int32))
    assert {name for name, *_ in on_the_host(found)} == {"RaggedRange", "ResourceGather"}
    assert len(loops(found)) == 1
