from __future__ import annotations

import tensorflow as tf

from tfrs_npa.data.pipelines import without_autotuning


def test_elements_stay_and_nothing_is_tuned():
    dataset = tf.data.Dataset.range(3).map(lambda number: number + 1).prefetch(1)
    untuned = without_autotuning(dataset)
    assert list(untuned.as_numpy_iterator()) == [1, 2, 3]
    assert dataset.options().autotune.enabled is None
    assert untuned.options().autotune.enabled is False
    assert untuned.repeat(2).take(5).options().autotune.enabled is False
