from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.optimizers import LazyAdam, WarmUp, default_optimizer

schedules = tf.keras.optimizers.schedules
Adam = tf.keras.optimizers.Adam

ROWS, DIM = 12, 3


class RowSparseAdam:
    """Adam as in algorithm 1 of Kingma & Ba (2015), one row of a table at a time, in NumPy."""

    def __init__(self, table, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False):
        self.table = table.astype(np.float64)
        self.m, self.v, self.v_max = (np.zeros_like(self.table) for _ in range(3))
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = beta_1, beta_2, epsilon, amsgrad
        self.t = 0

    def step(self, values, indices, rate):
        self.t += 1
        for row in set(indices):
            g = sum(value for value, index in zip(values, indices, strict=True) if index == row)
            g = np.asarray(g, np.float64)
            self.m[row] = self.beta_1 * self.m[row] + (1 - self.beta_1) * g
            self.v[row] = self.beta_2 * self.v[row] + (1 - self.beta_2) * g**2
            self.v_max[row] = np.maximum(self.v_max[row], self.v[row])
            v = self.v_max[row] if self.amsgrad else self.v[row]
            m_hat = self.m[row] / (1 - self.beta_1**self.t)
            v_hat = v / (1 - self.beta_2**self.t)
            # TensorFlow's epsilon is the one of the end of section 2 of the paper.
            epsilon = self.epsilon / np.sqrt(1 - self.beta_2**self.t)
            self.table[row] -= rate * m_hat / (np.sqrt(v_hat) + epsilon)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sparse(values, indices):
    indices = tf.convert_to_tensor(indices, tf.int64)
    return tf.IndexedSlices(tf.convert_to_tensor(values), indices, tf.constant([ROWS, DIM]))


# The update of a sparse gradient.

batches_of_rows = st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=8), max_size=6)


@settings(max_examples=25, deadline=None)
@given(batches=batches_of_rows, amsgrad=st.booleans(), decay=st.sampled_from([0.9, 0.99]))
def test_any_batches_agree_with_numpy_and_touch_no_other_row(batches, amsgrad, decay):
    table = tf.Variable(random(ROWS, DIM))
    optimizer = LazyAdam(0.1, beta_2=decay, amsgrad=amsgrad)
    optimizer.build([table])
    reference = RowSparseAdam(table.numpy(), beta_2=decay, amsgrad=amsgrad)
    for number, indices in enumerate(batches):
        others = np.setdiff1d(np.arange(ROWS), indices)
        before = [v.numpy()[others] for v in (table, *optimizer.variables[1:])]
        values = random(len(indices), DIM, seed=number)
        optimizer.apply_gradients([(sparse(values, indices), table)])
        reference.step(values, indices, rate=0.1)

        after = [v.numpy()[others] for v in (table, *optimizer.variables[1:])]
        np.testing.assert_array_equal(after, before)
    np.testing.assert_allclose(table, reference.table, rtol=0, atol=1e-6)


ALTERNATING = ([0, 5, 0, 7], [1, 2, 2, 2], [5, 7, 11, 0], [1, 1, 5, 5]) * 5


@pytest.mark.parametrize("mode", ["eager", "function", "xla", "xla_update"])
def test_alternating_batches_agree_with_numpy(mode):
    table = tf.Variable(random(ROWS, DIM))
    optimizer = LazyAdam(0.002, table_learning_rate=0.02)
    optimizer.build([table])
    reference = RowSparseAdam(table.numpy())

    def step(values, indices):
        optimizer.apply_gradients([(sparse(values, indices), table)])

    if mode in ("function", "xla"):
        step = tf.function(step, jit_compile=mode == "xla")
    # What Keras makes of jit_compile=True where there is a GPU.
    optimizer.jit_compile = mode == "xla_update"
    for number, indices in enumerate(ALTERNATING):
        values = random(len(indices), DIM, seed=number)
        step(tf.constant(values), tf.constant(indices, tf.int64))
        reference.step(values, indices, rate=0.02)
    np.testing.assert_allclose(table, reference.table, rtol=0, atol=1e-6)


@pytest.mark.parametrize("clip", [{}, {"clipnorm": 0.5}])
@pytest.mark.parametrize("rows, length, shape", [(ROWS, 5, (4, 24)), (12, 1, (30, 6))])
def test_xla_agrees_where_the_model_makes_its_indices_with_unique(rows, length, shape, clip):
    """Of 30 titles a batch has many or few, so that words occur once, or rows are too many."""
    words = tf.constant(np.random.default_rng(0).integers(0, rows, [30, length]))
    titles = np.random.default_rng(1).integers(0, 30, shape)

    def trained(jit_compile):
        table = tf.Variable(random(rows, DIM))
        optimizer = LazyAdam(0.1, **clip)
        optimizer.build([table])

        @tf.function(jit_compile=jit_compile)
        def step(batch):
            with tf.GradientTape() as tape:
                once, positions = tf.unique(batch)
                encoded = tf.reduce_sum(tf.gather(table, tf.gather(words, once)), axis=1)
                loss = tf.reduce_sum(tf.tanh(tf.gather(encoded, positions)))
            optimizer.apply_gradients([(tape.gradient(loss, table), table)])

        for batch in titles:
            step(tf.constant(batch))
        return table.numpy()

    np.testing.assert_allclose(trained(True), trained(False), rtol=0, atol=1e-5)


def test_no_operation_of_a_step_has_the_size_of_the_table():
    def sizes_in_graph_of(optimizer):
        table = tf.Variable(tf.zeros([4321, DIM]))
        optimizer.build([table])

        @tf.function
        def step(values, indices):
            optimizer.apply_gradients([(tf.IndexedSlices(values, indices), table)])

        signature = tf.TensorSpec([None, DIM]), tf.TensorSpec([None], tf.int64)
        graph = step.get_concrete_function(*signature).graph
        shapes = [out.shape for op in graph.get_operations() for out in op.outputs]
        return {shape[0] for shape in shapes if shape.rank}

    options = {"amsgrad": True, "clipnorm": 1.0, "clipvalue": 1.0}
    assert 4321 in sizes_in_graph_of(Adam(**options))
    assert 4321 not in sizes_in_graph_of(LazyAdam(table_learning_rate=1.0, **options))


def test_empty_sparse_gradient_changes_nothing():
    table = tf.Variable(random(ROWS, DIM))
    LazyAdam(0.1).apply_gradients([(sparse(np.zeros([0, DIM], np.float32), []), table)])
    np.testing.assert_array_equal(table, random(ROWS, DIM))


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_clipping_sees_the_sum_of_duplicates(clip):
    # At the first step Adam moves no row with a zero gradient, so the dense form is a reference.
    # epsilon is large, for without it the first step of Adam does not depend on the norm.
    values, indices = random(5, DIM), [3, 8, 3, 3, 0]
    dense = np.zeros([ROWS, DIM], np.float32)
    np.add.at(dense, indices, values)
    options = {clip: 0.3, "epsilon": 1.0}
    ours, expected = tf.Variable(random(ROWS, DIM)), tf.Variable(random(ROWS, DIM))
    LazyAdam(0.1, **options).apply_gradients([(sparse(values, indices), ours)])
    Adam(0.1, **options).apply_gradients([(tf.constant(dense), expected)])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-7)


def test_adaptive_epsilon_is_that_of_adam():
    # With every row in the gradient, Adam's own sparse update is a reference for several steps.
    ours, expected = tf.Variable(random(ROWS, DIM)), tf.Variable(random(ROWS, DIM))
    options = {"adaptive_epsilon": True, "epsilon": 0.1}
    lazy, adam = LazyAdam(0.1, **options), Adam(0.1, **options)
    for seed in range(3):
        gradient = sparse(random(ROWS, DIM, seed=seed), range(ROWS))
        lazy.apply_gradients([(gradient, ours)])
        adam.apply_gradients([(gradient, expected)])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_dense_gradients_are_those_of_adam(amsgrad):
    ours, expected = tf.Variable(random(ROWS, DIM)), tf.Variable(random(ROWS, DIM))
    lazy = LazyAdam(0.1, amsgrad=amsgrad, table_learning_rate=5.0)
    adam = Adam(0.1, amsgrad=amsgrad)
    for seed in range(5):
        gradient = tf.constant(random(ROWS, DIM, seed=seed))
        lazy.apply_gradients([(gradient, ours)])
        adam.apply_gradients([(gradient, expected)])
    np.testing.assert_array_equal(ours, expected)


# The learning rate of tables.


def test_table_learning_rate_follows_a_schedule():
    schedule = schedules.PolynomialDecay(0.01, 8, 0.001)
    table, reference = tf.Variable(random(ROWS, DIM)), RowSparseAdam(random(ROWS, DIM))
    optimizer = LazyAdam(schedule, table_learning_rate=0.03)
    for number, indices in enumerate(ALTERNATING):
        values = random(len(indices), DIM, seed=number)
        optimizer.apply_gradients([(sparse(values, indices), table)])
        reference.step(values, indices, rate=3 * float(schedule(number)))
    np.testing.assert_allclose(table, reference.table, rtol=0, atol=1e-6)


def test_table_learning_rate_goes_with_the_base_learning_rate():
    warm_up = schedules.CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=2)
    optimizer = LazyAdam(warm_up, table_learning_rate=0.5, base_learning_rate=0.1)
    table = tf.Variable(random(ROWS, DIM))
    rates = []
    for _ in range(3):
        optimizer.apply_gradients([(sparse(random(1, DIM), [0]), table)])
        rates.append(float(optimizer.table_learning_rate))
    assert rates == pytest.approx([0.0, 0.25, 0.5])

    with pytest.raises(ValueError, match="base_learning_rate"):
        LazyAdam(warm_up, table_learning_rate=0.5)
    with pytest.raises(ValueError, match="must be positive; got 0.0"):
        LazyAdam(0.0, table_learning_rate=0.5)


def test_a_table_has_the_learning_rate_of_its_name():
    table, other = (tf.Variable(random(ROWS, DIM), name=name) for name in ("user_table", "words"))
    schedule = schedules.PolynomialDecay(0.01, 8, 0.001)
    optimizer = LazyAdam(schedule, variable_learning_rates={"user_table": 0.03})
    expected = RowSparseAdam(table.numpy()), RowSparseAdam(other.numpy())
    for number, indices in enumerate(ALTERNATING):
        values = random(len(indices), DIM, seed=number)
        optimizer.apply_gradients([(sparse(values, indices), one) for one in (table, other)])
        for times, reference in zip((3, 1), expected, strict=True):
            reference.step(values, indices, rate=times * float(schedule(number)))
    for one, reference in zip((table, other), expected, strict=True):
        np.testing.assert_allclose(one, reference.table, rtol=0, atol=1e-6)
    copy = LazyAdam.from_config(optimizer.get_config())
    assert float(copy.learning_rate_of(table)) == pytest.approx(0.03)
    assert float(copy.learning_rate_of(other)) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="base_learning_rate"):
        LazyAdam(schedules.PolynomialDecay(0.0, 8, 0.1), variable_learning_rates={"user_table": 1})


def test_without_table_learning_rate_there_is_one_learning_rate():
    optimizer = LazyAdam(0.1)
    optimizer.learning_rate = 0.2
    assert float(optimizer.table_learning_rate) == float(np.float32(0.2))


@pytest.mark.parametrize("option", [{"weight_decay": 0.1}, {"use_ema": True}])
def test_options_that_need_the_whole_table_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        LazyAdam(**option)


# The optimizer of a configuration.


def config_with(schedule, table_learning_rate=None, warmup_steps=0):
    return types.SimpleNamespace(
        learning_rate=0.1,
        table_learning_rate=table_learning_rate,
        user_learning_rate=None,
        schedule=schedule,
        warmup_steps=warmup_steps,
    )


@pytest.mark.parametrize(
    ("schedule", "fractions"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25, 0]),
        ("cosine", (1 + np.cos(np.pi * np.arange(5) / 4)) / 2),
    ],
)
@pytest.mark.parametrize("table_learning_rate", [None, 0.5])
def test_default_optimizer_follows_the_schedule(schedule, fractions, table_learning_rate):
    optimizer = default_optimizer(config_with(schedule, table_learning_rate), total_steps=4)
    variable = tf.Variable([0.0])
    rates = []
    for _ in range(5):
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
        rates.append([float(optimizer.learning_rate), float(optimizer.table_learning_rate)])
    expected = np.outer(fractions, [0.1, table_learning_rate or 0.1])
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("schedule", "fractions"),
    [("constant", [0.5, 1, 1, 1]), ("linear", [0.5, 0.75, 0.5, 0.25])],
)
def test_default_optimizer_warms_up(schedule, fractions):
    """Both learning rates rise together, and what they rise to decays."""
    optimizer = default_optimizer(config_with(schedule, 0.5, warmup_steps=2), total_steps=4)
    variable = tf.Variable([0.0])
    rates = []
    for _ in fractions:
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
        rates.append([float(optimizer.learning_rate), float(optimizer.table_learning_rate)])
    np.testing.assert_allclose(rates, np.outer(fractions, [0.1, 0.5]), rtol=1e-5, atol=1e-8)


def test_warm_up_is_saved():
    schedules = tf.keras.optimizers.schedules
    for inner in (0.1, schedules.CosineDecay(0.1, 10)):
        schedule = WarmUp(inner, 4)
        copy = schedules.deserialize(schedules.serialize(schedule))
        rates = [[float(s(step)) for step in range(8)] for s in (schedule, copy)]
        assert rates[0] == rates[1]
        assert rates[0][0] == pytest.approx(0.1 / 4) and rates[0][3] > rates[0][2] > rates[0][1]


def test_default_optimizer_passes_arguments_on():
    assert default_optimizer(config_with("constant"), clipnorm=0.5).clipnorm == 0.5


def test_default_optimizer_refuses_what_it_cannot_do():
    assert float(default_optimizer(config_with("constant")).learning_rate) == np.float32(0.1)
    for schedule in ("linear", "cosine"):
        # Without an end there is nothing to decay to.
        assert float(default_optimizer(config_with(schedule)).learning_rate) == np.float32(0.1)
        with pytest.raises(ValueError, match=r"len\(batches\) \* epochs"):
            default_optimizer(config_with(schedule), 0)
    with pytest.raises(ValueError, match="got 'warm'"):
        default_optimizer(config_with("warm"), 10)
