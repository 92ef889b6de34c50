"""Changes processes that have this folder in PYTHONPATH, as environment variables ask.

UNOPTIMIZED: Graphs are not optimized, as in the process of the tests.
UNTRACED: Models run op by op: tracing takes most of the time of a tiny training.
PAUSE_IN_EPOCH, PAUSE_FILE: In the given epoch of all that a process trains, it writes its id to
the file and waits to be interrupted or killed. The first process that comes so far does, and no
other, such as the one that replaces it.
"""

import functools
import itertools
import os
import pathlib
import time

import wrapt


@wrapt.when_imported("tfrs_npa.models.npa")
def change(module):
    if "UNOPTIMIZED" in os.environ:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
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

    epochs, own_file = itertools.count(1), pathlib.Path(f"{file}.{os.getpid()}")

    class Pause(tf.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.is_paused = next(epochs) == pause_epoch

        def on_train_batch_end(self, batch, logs=None):
            if not self.is_paused:
                return
            own_file.write_text(str(os.getpid()))
            try:
                os.link(own_file, file)
            except FileExistsError:
                self.is_paused = False
            else:
                time.sleep(3600)

    return Pause()
