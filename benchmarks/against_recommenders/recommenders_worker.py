"""Trains and evaluates NPA with Microsoft Recommenders, on command.

Runs in the environment of Recommenders, where tfrs_npa cannot be installed;
`recommenders_environment.py` creates that environment and starts this script. Commands come as
lines of JSON on standard input, `{"command": "train", "steps": 3, "batch_size": 32}`, and each is
answered with a line of JSON on standard output. It exits at the end of the input.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import platform
import random
import sys
import time


class Recommenders:
    """`NPAModel` on a folder of `demo_sized_data`."""

    _passes = None  # of `continue_training`

    def __init__(self, data, title_length, seed):
        import numpy as np
        import tensorflow as tf
        from recommenders.models.newsrec.io.mind_iterator import MINDIterator
        from recommenders.models.newsrec.models.npa import NPAModel
        from recommenders.models.newsrec.newsrec_utils import prepare_hparams

        self._data = data
        self._tensorflow = tf.__version__
        hparams = prepare_hparams(
            str(data / f"npa_{title_length}.yaml"),
            wordEmb_file=str(data / "embedding.npy"),
            wordDict_file=str(data / "word_dict.pkl"),
            userDict_file=str(data / "uid2index.pkl"),
        )
        random.seed(seed)  # negatives are drawn from here
        self._model = NPAModel(hparams, MINDIterator, seed=seed)
        # Without the file, it keeps the weights that it starts from by itself.
        if (data / "weights.npz").exists():
            with np.load(data / "weights.npz") as arrays:
                weights = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
            self._model.model.set_weights(weights)

    def versions(self):
        from importlib.metadata import version

        return {
            "python": platform.python_version(),
            "recommenders": version("recommenders"),
            "tensorflow": self._tensorflow,
        }

    def train(self, steps, batch_size):
        """Takes steps as `NPAModel.fit` does, reading and sampling included."""
        iterator = self._model.train_iterator
        iterator.batch_size = batch_size
        start = time.perf_counter()
        rows = 0
        batches = iterator.load_data_from_file(*self._files("train"))
        for batch in itertools.islice(batches, steps):
            self._model.train(batch)
            rows += len(batch["labels"])
        return {"seconds": time.perf_counter() - start, "rows": rows}

    def continue_training(self, steps):
        """Takes the next steps, pass after pass, as `NPAModel.fit` with the batches of npa.yaml.

        Reading the files counts in neither of the two times.
        """
        iterator, files = self._model.train_iterator, self._files("train")
        if self._passes is None:
            iterator.init_news(files[0])
            iterator.init_behaviors(files[1])
            passes = (iterator.load_data_from_file(*files) for _ in itertools.count())
            self._passes = itertools.chain.from_iterable(passes)
        start, cpu_start = time.perf_counter(), time.process_time()
        rows = 0
        for batch in itertools.islice(self._passes, steps):
            self._model.train(batch)
            rows += len(batch["labels"])
        cpu_seconds = time.process_time() - cpu_start
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "rows": rows}

    def save(self, path):
        """Saves the weights as `.npz`, in the order of `NPAModel.model.get_weights()`."""
        import numpy as np

        np.savez(path, *self._model.model.get_weights())
        return {}

    def evaluate(self):
        """Evaluates `scored/`; its files are parsed by the first call only."""
        start = time.perf_counter()
        metrics = self._model.run_eval(*self._files("scored"))
        seconds = time.perf_counter() - start
        candidates = sum(map(len, self._model.test_iterator.labels))
        metrics = {name: float(value) for name, value in metrics.items()}
        return {"seconds": seconds, "candidates": candidates, "metrics": metrics}

    def score(self, path):
        """Saves the scores of `scored/`, `[candidates]` in file order, as `.npy`."""
        import numpy as np

        _, _, scores = self._model.run_slow_eval(*self._files("scored"))
        np.save(path, np.concatenate(scores))
        return {}

    def _files(self, split):
        return [str(self._data / split / name) for name in ("news.tsv", "behaviors.tsv")]


COMMANDS = ("versions", "train", "continue_training", "save", "evaluate", "score")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=pathlib.Path, required=True, help="folder of `demo_sized_data`"
    )
    parser.add_argument("--title-length", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    # Keeps what libraries print out of the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    model = Recommenders(args.data, args.title_length, args.seed)
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("command")
        if command not in COMMANDS:
            raise ValueError(f"no command {command!r}; there are {', '.join(COMMANDS)}")
        answers.write(json.dumps(getattr(model, command)(**request)) + "\n")


if __name__ == "__main__":
    main()
