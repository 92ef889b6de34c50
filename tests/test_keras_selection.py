"""Each test is a fresh Python process: which Keras is in use is settled once per process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tfrs_npa

VARIABLE = "TF_USE_LEGACY_KERAS"
# What `import tfrs_npa` leaves to the names that need it.
SLOW = {"tensorflow", "tf_keras", "keras", "keras_tuner", "tensorflow_datasets", "numpy"}

ALL_KERAS_2 = """
import tensorflow as tf, tf_keras
from tensorflow import keras
from tensorflow.keras import layers
import tensorflow.keras.optimizers.schedules
assert tf.keras.Model is keras.Model is tf_keras.Model
assert tf.keras.layers.Dense is layers.Dense is tf_keras.layers.Dense
assert tensorflow.keras.optimizers.schedules.CosineDecay.__module__.startswith("tf_keras.")
assert tf.optimizers.Adam is tf_keras.optimizers.Adam
"""

# As HDF5 files and plain configurations need it, which name no module.
CLASSES_KNOWN = """
import tensorflow as tf
for name in ('NPA', 'LazyAdam', 'PersonalizedAttention', 'UserEmbedding'):
    assert tf.keras.utils.get_registered_object(f'tfrs_npa>{name}') is not None, name
"""

SEARCH = """
import keras_tuner, sys, tempfile
import tensorflow_recommenders as tfrs

class Tiny(tfrs.Model):
    def __init__(self, units):
        super().__init__()
        self.scores = tf.keras.Sequential([tf.keras.layers.Dense(units), tf.keras.layers.Dense(1)])
        self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())

    def compute_loss(self, inputs, training=False):
        features, labels = inputs
        return self.task(labels=labels, predictions=self.scores(features))

def build(hp):
    model = Tiny(hp.Int("units", 1, 4))
    model.compile(optimizer="adam")
    return model

with tempfile.TemporaryDirectory() as directory:
    objective = keras_tuner.Objective("val_loss", "min")
    tuner = keras_tuner.RandomSearch(build, objective, max_trials=1, directory=directory)
    x, y = tf.ones([8, 3]), tf.ones([8, 1])
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    statuses = [trial.status for trial in tuner.oracle.trials.values()]
    assert statuses == ["COMPLETED"], statuses
    assert isinstance(tuner.get_best_models()[0], Tiny)
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs `code` where nobody has chosen a Keras, unless `environment` does."""
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(tfrs_npa.__file__).parents[1],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def forks(code: str, values) -> str:
    """The code of a process of its own for each value of `value`.

    They share the imports before, which take longer than all the rest.
    """
    return (
        "import os\n"
        f"for value in {list(values)!r}:\n"
        "    child = os.fork()\n"
        "    if child:\n"
        "        assert os.waitpid(child, 0)[1] == 0, value\n"
        "        continue\n" + textwrap.indent(code, "    ") + "    os._exit(0)\n"
    )


def assert_runs(code: str, **environment: str) -> subprocess.CompletedProcess:
    result = run(code, **environment)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
def test_import_of_the_package_is_enough_and_keras_tuner_then_completes_a_trial():
    result = assert_runs(
        "import tfrs_npa, os, sys\n"
        f"assert os.environ['{VARIABLE}'] == '1'\n"
        f"assert not {SLOW} & set(sys.modules)\n"
        + ALL_KERAS_2
        + forks("exec(value)\n" + CLASSES_KNOWN, ["pass", "import tfrs_npa.data"])
        + SEARCH
        + "assert 'keras' not in sys.modules\n"
        "import keras\n"
        "assert keras.__version__.startswith('3.') and keras.Model is not tf.keras.Model\n",
        PYTHONWARNINGS="always",
    )
    assert "tfrs_npa" not in result.stderr  # No warning comes from, or is blamed on, our lines.


@pytest.mark.slow
def test_names_and_the_data_set_come_when_they_are_needed(tmp_path):
    """The data set is registered by whoever imports TensorFlow Datasets, before or after."""
    code = f"""
import sys
{{}}
import tfrs_npa
for name in ("NPAConfig", "SearchSpace", "load_recommenders_weights"):
    assert callable(getattr(tfrs_npa, name)), name
{{}}
assert set(tfrs_npa.__all__) <= set(dir(tfrs_npa))
import tensorflow_datasets as tfds
builder = tfds.builder("mind/synthetic-news", data_dir={str(tmp_path)!r})
assert builder.info.full_name.startswith("mind/synthetic-news")
{{}}
assert {{{{type(getattr(tfrs_npa, name)).__name__ for name in tfrs_npa.__all__}}}}
assert tfrs_npa.metrics.ImpressionMetrics is tfrs_npa.ImpressionMetrics
assert tfrs_npa.config.NPAConfig is tfrs_npa.NPAConfig
assert tfrs_npa.serving.ServingModule.__name__ == "ServingModule"
from tfrs_npa import *
assert NPA is tfrs_npa.NPA and issubclass(NPA, tf.keras.Model)
try:
    tfrs_npa.Npa
except AttributeError as error:
    assert "has no attribute 'Npa'" in str(error)
else:
    raise AssertionError
"""
    first = "assert not {'tensorflow', 'tf_keras', 'keras_tuner'} & set(sys.modules)"
    assert_runs(code.format("", first, "import tensorflow as tf\n" + ALL_KERAS_2))
    last = "import tensorflow as tf\n" + ALL_KERAS_2
    assert_runs(code.format("import tensorflow_datasets", "", last))


@pytest.mark.slow
def test_a_saved_model_loads_after_a_mere_import(tmp_path):
    path = str(tmp_path / "npa.keras")
    assert_runs(
        "import tfrs_npa\n"
        "news = {'news_id': ['N1', 'N2'], 'title': ['Rain tomorrow', 'Team wins']}\n"
        "catalog = tfrs_npa.NewsCatalog().adapt(news)\n"
        "users = tfrs_npa.UserIndex().adapt({'user_id': ['U1']})\n"
        "config = tfrs_npa.NPAConfig.preset('small').replace(num_filters=4)\n"
        "model = tfrs_npa.NPA(config, catalog, users)\n"
        "model.compile(optimizer=tfrs_npa.default_optimizer(config))\n"
        f"model.save({path!r})\n"
    )
    # A process of its own: TensorFlow 2.16 hangs in one that is forked after it has run anything.
    assert_runs(
        f"import tfrs_npa\n{CLASSES_KNOWN}"
        f"loaded = tf.keras.models.load_model({path!r})\n"
        "assert type(loaded).__name__ == 'NPA' and loaded.users.ids == ['[UNK]', 'U1']\n"
        "assert type(loaded.optimizer).__name__ == 'LazyAdam'\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        # Each imports TensorFlow, and is not complete when that is.
        "import keras_tuner",
        "import tf_keras",
        "import tensorflow_recommenders",
    ],
)
def test_classes_are_known_by_their_names(first):
    """As they are after the imports of the two tests above."""
    assert_runs(f"import tfrs_npa\n{first}\n{CLASSES_KNOWN}")


@pytest.mark.slow
def test_tensorflow_first_and_keras_3_in_use_for_itself():
    assert_runs(
        "import keras, numpy, tensorflow\n"
        "model = keras.Sequential([keras.layers.Dense(2)])\n"
        "before = model.predict(numpy.ones([1, 3]), verbose=0)\n"
        "import tfrs_npa, keras_tuner, sys\n"
        + ALL_KERAS_2
        + "assert keras_tuner.src.backend.keras.Model is tf.keras.Model\n"
        "keras_3 = __import__('keras')\n"
        "assert keras_3 is sys.modules['keras'] and keras_3.__version__.startswith('3.')\n"
        "assert isinstance(model, keras_3.Sequential)\n"
        "assert (model.predict(numpy.ones([1, 3]), verbose=0) == before).all()\n"
        "assert isinstance(keras_3.Sequential.from_config(model.get_config()), keras_3.Model)\n"
    )


@pytest.mark.slow
def test_tensorflow_first_with_the_variable_and_without_keras_tuner():
    assert_runs(
        "import sys, tensorflow as tf\n"
        "tf.keras.Model, tf.losses.Loss\n"
        "path = list(tf.__path__)\n"
        "import tfrs_npa\n"
        "assert tf.__path__ == path, tf.__path__\n" + ALL_KERAS_2 + "sys.path.clear()\n"
        "try:\n"
        "    import keras_tuner\n"
        "except ModuleNotFoundError as error:\n"
        "    assert error.name == 'keras_tuner'\n"
        "else:\n"
        "    raise AssertionError('keras_tuner was found on an empty path')\n",
        **{VARIABLE: "1"},
    )


@pytest.mark.slow
def test_keras_3_in_use_through_tensorflow_is_refused():
    uses = ("tf.keras.Model", "from tensorflow.keras import layers", "tf.metrics.Mean()")
    refused = (
        "exec(value)\n"
        "meta_path = list(sys.meta_path)\n"
        "try:\n"
        "    import tfrs_npa\n"
        "except ImportError as error:\n"
        f"    assert 'import tfrs_npa` before' in str(error) and '{VARIABLE}=1' in str(error)\n"
        "else:\n"
        "    raise AssertionError('Keras 3 was accepted')\n"
        f"assert '{VARIABLE}' not in os.environ and sys.meta_path == meta_path\n"
    )
    assert_runs("import sys, tensorflow as tf\n" + forks(refused, uses))


@pytest.mark.slow
def test_keras_tuner_with_keras_3_is_refused():
    result = run("import keras_tuner, tfrs_npa")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        "ImportError: tfrs_npa needs Keras 2, and this program has imported keras_tuner with "
        "Keras 3. Put `import tfrs_npa` before `import keras_tuner`."
    )
