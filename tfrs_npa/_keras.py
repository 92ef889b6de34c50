"""Chooses Keras 2 (`tf_keras`) for this process, and registers the data set `mind`.

TensorFlow Recommenders runs on Keras 2 alone, whereas TensorFlow and KerasTuner default to Keras 3.
This module is imported first, for its side effects, and imports nothing slow: the rest is done when
the program imports TensorFlow, KerasTuner or TensorFlow Datasets. `import keras` is not affected.

Raises:
    ImportError: If the program already uses Keras 3, through TensorFlow or KerasTuner.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_VARIABLE = "TF_USE_LEGACY_KERAS"


def _is_keras_3(class_: type) -> bool:
    return class_.__module__.startswith("keras.")


def _choose_for_tensorflow() -> None:
    """Makes `tf.keras` and `tensorflow.keras` Keras 2, whether TensorFlow is imported or not."""
    before = os.environ.get(_VARIABLE)
    # TensorFlow reads it when it is imported, and again when its Keras is first used.
    os.environ[_VARIABLE] = "1"
    if "tensorflow" not in sys.modules:
        return
    import tensorflow as tf
    import tf_keras

    # Each of these modules is resolved on first use and does not change afterwards.
    classes = (
        tf.keras.Model,
        tf.initializers.Initializer,
        tf.losses.Loss,
        tf.metrics.Metric,
        tf.optimizers.Optimizer,
    )
    if any(map(_is_keras_3, classes)):
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
        raise ImportError(
            "tfrs_npa needs Keras 2, and this program has used Keras 3 through TensorFlow already. "
            "Put `import tfrs_npa` before the first use of tf.keras, or set "
            f"{_VARIABLE}=1 in the environment before Python starts."
        )
    # `from tensorflow.keras import ...` looks in this list, which the variable no longer changes
    # once TensorFlow is imported.
    keras_2 = str(Path(tf_keras.__file__).parent / "api" / "_v2")
    if keras_2 not in tf.__path__:
        tf.__path__.insert(0, keras_2)


@contextlib.contextmanager
def _keras_means_keras_2() -> Iterator[None]:
    """Wraps the import of KerasTuner, the only time it reads `sys.modules["keras"]`.

    It refuses every `tfrs.Model` if it finds Keras 3 there. Importing it here instead would be
    simpler, but costs seconds at every start, and a KerasTuner that cannot be imported would then
    stop tfrs_npa too.
    """
    import tf_keras

    keras = sys.modules.get("keras")
    sys.modules["keras"] = tf_keras
    try:
        yield
    finally:
        del sys.modules["keras"]
        if keras is not None:
            sys.modules["keras"] = keras


@contextlib.contextmanager
def _mind_registered() -> Iterator[None]:
    """Wraps the import of TensorFlow Datasets, and registers the data set `mind` with it."""
    yield
    _register_mind()


def _register_mind() -> None:
    importlib.import_module("tfrs_npa.datasets.mind")


# Imports in progress that `_classes_registered` wraps.
_imports = 0


@contextlib.contextmanager
def _classes_registered() -> Iterator[None]:
    """Wraps the import of what our classes need, after which Keras finds them by their names.

    One of these imports another: only when the outermost is complete can ours follow.
    """
    global _imports
    _imports += 1
    try:
        yield
    finally:
        _imports -= 1
    if _imports == 0:
        register_classes()


def register_classes() -> None:
    """Registers our classes with Keras, unless a module of ours is being imported just now.

    `.keras` files name the module of a class; HDF5 files and plain configurations do not.
    """
    modules = [module for name, module in sys.modules.items() if name.startswith("tfrs_npa.")]
    if not any(getattr(module.__spec__, "_initializing", False) for module in modules):
        for name in ("models.npa", "optimizers"):
            importlib.import_module(f"tfrs_npa.{name}")


class _Finder:
    """Runs the import of certain modules inside a context manager."""

    contexts = {
        "keras_tuner": _keras_means_keras_2,
        "tensorflow": _classes_registered,
        "tensorflow_recommenders": _classes_registered,
        "tf_keras": _classes_registered,
        "tensorflow_datasets": _mind_registered,
    }

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in cls.contexts:
            return None
        finders = (finder for finder in sys.meta_path if finder is not cls)
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next(filter(None, specs), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader  # methods of other objects are replaced below
            exec_module = loader.exec_module

            def exec_module_in_context(module: ModuleType) -> None:
                with cls.contexts[name]():
                    exec_module(module)

            loader.exec_module = exec_module_in_context
        return spec


def _refuse_keras_tuner_with_keras_3() -> None:
    backend = sys.modules.get("keras_tuner.src.backend.keras")
    if backend is not None and _is_keras_3(backend.Model):
        raise ImportError(
            "tfrs_npa needs Keras 2, and this program has imported keras_tuner with Keras 3. "
            "Put `import tfrs_npa` before `import keras_tuner`."
        )


# Check first, then change the process.
_refuse_keras_tuner_with_keras_3()
_choose_for_tensorflow()
sys.meta_path.insert(0, _Finder)
if "tensorflow_datasets" in sys.modules:
    _register_mind()
