"""Changes processes that have this folder in PYTHONPATH, as environment variables ask.

UNTRACED: Models run op by op: tracing takes most of the time of a tiny training.
PAUSE_IN_EPOCH, PAUSE_FILE: In the given epoch of all that a process trains, makes the file and
waits to be interrupted or killed; unless the file exists, as when the process was restarted.
"""

import functools
import itertools
import os
import pathlib
import time

import wrapt


@wrapt.when_imported("tfrs_npa.models.npa")
def change(module):
    if "UNTRACED" in os.environ:
        module.NPA.compile = functools.partialmethod(module.NPA.compile, run_eagerly=True)
    if "PAUSE_FILE" in os.environ:
        pause = pause_callback(int(os.environ["PAUSE_IN_EPOCH"]), os.environ["PAUSE_FILE"])
        fit = module.NPA.fit

        def fit_with_pause(model, *args, callbacks, **kwargs):
            return fit(model, *args, callbacks=[*callbacks, pause], **kwargs)

        module.NPA.fit = fit_with_pause


def pause_callback(pause_epoch, file):
    import tensorflow as tf

    file, epochs = pathlib.Path(file), itertools.count(1)

    class Pause(tf.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.pauses = next(epochs) == pause_epoch and not file.exists()

        def on_train_batch_end(self, batch, logs=None):
            if self.pauses:
                file.touch()
                time.sleep(3600)

    return Pause()
