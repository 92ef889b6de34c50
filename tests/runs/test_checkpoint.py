"""Checkpoints that are damaged, from elsewhere, or cannot be written."""

from __future__ import annotations

import errno
import os
import resource

import numpy as np
import pytest
import tensorflow as tf

from tfrs_npa.runs.checkpoint import (
    checkpoint_state,
    load_checkpoint,
    save_checkpoint,
)

STATE = {"epoch": 2, "step": 0, "history": [{"epoch": 1, "loss": 0.1 + 0.2}]}


def make_model():
    model = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=[2])])
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def model():
    model = make_model()
    model.layers[0].kernel.assign(np.arange(6.0).reshape(2, 3))
    return model


@pytest.fixture
def path(model, tmp_path):
    path = tmp_path / "last.weights.h5"
    save_checkpoint(path, model, STATE)
    return path


def test_what_is_saved_is_loaded(path, model):
    again = make_model()
    assert load_checkpoint(path, again) == STATE == checkpoint_state(path)
    for found, expected in zip(again.variables, model.variables, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_keras_reads_it_too(path, model):
    again = make_model()
    again.load_weights(path)
    np.testing.assert_array_equal(again.layers[0].kernel, model.layers[0].kernel)


def test_one_of_version_0_1(tmp_path, model):
    path = tmp_path / "last.weights.h5"
    model.save_weights(path)
    again = make_model()
    assert load_checkpoint(path, again) is None
    np.testing.assert_array_equal(again.layers[0].kernel, model.layers[0].kernel)


def test_no_flipped_bit_goes_unnoticed(path):
    """Other weights are never loaded."""
    whole, model = path.read_bytes(), make_model()
    before = [variable.numpy() for variable in model.variables]
    places = [*range(0, len(whole) - 48, len(whole) // 97), *range(len(whole) - 60, len(whole))]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match="last.weights.h5 .*is damaged: .*(checksum|end)"):
            load_checkpoint(path, model)
        for found, expected in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99, 0.999])
def test_what_is_cut_short_is_refused(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="last.weights.h5") as caught:
        load_checkpoint(path, make_model())
    assert len(str(caught.value)) <= 500 + len(str(path))


def test_no_space_is_found_out_before_hdf5_writes(path, model):
    """HDF5 ends the process with a segmentation fault when it cannot write what it holds."""
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            save_checkpoint(path, model, STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(path.parent)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_without_a_way_to_reserve_space(path, model, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    save_checkpoint(path, model, STATE | {"epoch": 3})
    assert load_checkpoint(path, make_model())["epoch"] == 3


def test_the_one_before_is_kept(path, model, monkeypatch):
    """By a link, or where there are none, by a copy."""
    previous = path.with_name("previous.weights.h5")
    for epoch in (3, 4):
        save_checkpoint(path, model, STATE | {"epoch": epoch}, previous)
        assert checkpoint_state(previous)["epoch"] == epoch - 1

        def link(*_):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)
