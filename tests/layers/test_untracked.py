from __future__ import annotations

import tensorflow as tf

from tfrs_npa.layers.untracked import Untracked


def test_keras_and_saved_models_overlook_it(tmp_path):
    class Holder(tf.keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seen = tf.Variable(1.0)
            self._untracked = Untracked(hidden=tf.Variable(2.0), layer=tf.keras.layers.Dense(3))

    holder = Holder()
    holder._untracked.layer.build([None, 2])
    assert holder.weights == [holder.seen] and not list(holder.submodules)
    tf.train.Checkpoint(holder).save(tmp_path / "c")
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "c-1"))]
    assert [name for name in names if "VARIABLE_VALUE" in name and "save_counter" not in name] == [
        "seen/.ATTRIBUTES/VARIABLE_VALUE"
    ]
