from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf


def _arrays(outputs):
    return [np.asarray(tf.convert_to_tensor(value)) for value in tf.nest.flatten(outputs)]


@pytest.fixture
def check_layer(tmp_path):
    """What every layer has to do: be built, be configured, be copied, be saved, be traced.

    Call it with the class, its arguments, an input (a tensor or a tuple of tensors) and the shapes
    of the weights in order. Returns the layer.
    """

    def check(layer_class, arguments, inputs, weight_shapes):
        layer = layer_class(**arguments)
        assert not layer.built
        outputs = _arrays(layer(inputs))
        assert [tuple(w.shape) for w in layer.weights] == weight_shapes
        assert len({w.name for w in layer.weights}) == len(weight_shapes)
        for array in outputs:
            assert np.all(np.isfinite(array))

        config = json.loads(json.dumps(layer.get_config()))
        copy = layer_class.from_config(config)
        assert copy.get_config() == layer.get_config()
        for name, value in arguments.items():
            if isinstance(value, (str, int, float)) and isinstance(config[name], type(value)):
                assert config[name] == value
        # The seed is part of the configuration, so the same weights are drawn again.
        copy(inputs)
        for ours, other in zip(layer.get_weights(), copy.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, other)

        model_inputs = tf.nest.map_structure(
            lambda x: tf.keras.Input(x.shape[1:], dtype=x.dtype), inputs
        )
        model = tf.keras.Model(model_inputs, layer(model_inputs))
        generator = np.random.default_rng(0)
        model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
        expected = _arrays(layer(inputs))
        path = str(tmp_path / "model.keras")
        model.save(path)
        loaded = tf.keras.models.load_model(path)
        for ours, saved in zip(expected, _arrays(loaded(inputs)), strict=True):
            np.testing.assert_array_equal(ours, saved)

        for ours, traced in zip(expected, _arrays(tf.function(layer)(inputs)), strict=True):
            np.testing.assert_allclose(ours, traced, rtol=1e-5, atol=1e-6)
        return layer

    return check
