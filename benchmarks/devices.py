"""Training and evaluation on each device that TensorFlow sees: the processor, and GPUs.

At the size of MIND-small: training rows/s of `fit` at several batch sizes, from batches that are in
memory, and candidates/s of a second `evaluate`, which traces nothing. The models are preset
"small", `NPAConfig()`, the same with the policy mixed_bfloat16, and preset "recommenders", without
rows of histories. Beside that, what a batch holds, for arithmetic about other devices.
"""

from __future__ import annotations

import argparse
import time

import made_up_data
import numpy as np
import results_file
from results_file import measurement, show, table

import tfrs_npa
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.cli.scripts import at_least_one

MODELS = {
    "small": ("small", "float32"),
    "full": (None, "float32"),
    "full, bfloat16": (None, "mixed_bfloat16"),
    "recommenders": ("recommenders", "float32"),
}


def main() -> None:
    parser = results_file.result_parser(__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch-sizes", type=at_least_one, nargs="+", default=[32, 256, 1024])
    number = {"type": at_least_one, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--steps", default=40, **number)
    parser.add_argument("--impressions", default=32_768, **number | {"help": "to train on"})
    parser.add_argument("--evaluated", default=4_096, **number | {"help": "impressions"})
    args = parser.parse_args()
    import_tensorflow()
    import tensorflow as tf

    data = Data(args)
    devices = [device.name for device in tf.config.list_logical_devices()]
    rows, measurements = [], []
    for name in args.models:
        for device in devices:
            for case, rate in data.rates(name, device):
                rows.append([name, device, case, f"{rate:,.0f}"])
                measurements.append(measurement(f"{name}, {device}, {case}", rate))
    rates = table(
        "Training rows/s, evaluation candidates/s", ["model", "device", "", "each second"], rows
    )
    sizes = table(
        f"A training batch of {max(args.batch_sizes):,} rows",
        ["", "number"],
        [[name, f"{number:,}"] for name, number in data.sizes().items()],
    )
    show(rates)
    show(sizes)
    results_file.write(
        args.json,
        title="Devices",
        about=results_file.about(__doc__),
        tables=[rates, sizes],
        measurements=measurements,
        versions={"devices": [_description(d) for d in tf.config.list_physical_devices()]},
    )


class Data:
    """Articles, users and impressions, and what is measured on them."""

    def __init__(self, args: argparse.Namespace):
        from tfrs_npa.data.cache import joined

        self.args = args
        self.catalog = tfrs_npa.NewsCatalog().adapt(
            made_up_data.news_columns(made_up_data.ARTICLES)
        )
        self.users = tfrs_npa.UserIndex().adapt(made_up_data.user_columns(made_up_data.USERS))
        pieces = made_up_data.impression_pieces(max(args.impressions, args.evaluated))
        self.impressions = tfrs_npa.Impressions.from_columns(joined(pieces))

    def config(self, name: str) -> tfrs_npa.NPAConfig:
        preset = MODELS[name][0]
        config = tfrs_npa.NPAConfig.preset(preset) if preset else tfrs_npa.NPAConfig()
        return config.replace(word_initializer="normal", history_rows=0)

    def rates(self, name: str, device: str):
        """Yields what was measured, and how many each second."""
        import tensorflow as tf

        config = self.config(name)
        tf.keras.mixed_precision.set_global_policy(MODELS[name][1])
        try:
            with tf.device(device):
                model = tfrs_npa.NPA(config, self.catalog, self.users)
                model.compile(optimizer=tfrs_npa.default_optimizer(config, 1000))
                for batch_size in self.args.batch_sizes:
                    yield f"training, batch {batch_size}", self._training(model, batch_size)
                yield "evaluation", self._evaluation(model)
        finally:
            tf.keras.mixed_precision.set_global_policy("float32")

    def sizes(self) -> dict[str, int]:
        """Counts what the first batch of the largest size holds."""
        config = tfrs_npa.NPAConfig(history_rows=0, word_initializer="normal")
        (batch,) = self._batches(config, max(self.args.batch_sizes)).take(1)
        clicks, shown = (batch[name][batch[name] > 0].numpy() for name in ("history", "candidates"))
        articles = np.concatenate([clicks, shown])
        tokens, distinct = self.catalog.tokens(config.title_length), np.unique(articles)
        words = tokens[distinct][tokens[distinct] > 0]
        return {
            "clicks": len(clicks),
            "candidates": len(shown),
            "distinct titles": len(distinct),
            "words of these": len(words),
            "distinct words": len(np.unique(words)),
            "pairs of a user and a word": np.count_nonzero(tokens[articles]),
        }

    def _batches(self, config, batch_size: int):
        impressions = self.impressions.take(slice(0, self.args.impressions))
        config = config.replace(batch_size=batch_size)
        return tfrs_npa.training_batches(impressions, self.catalog, self.users, config)

    def _training(self, model, batch_size: int) -> float:
        batches = self._batches(model.config, batch_size)
        # Drawn once: the first call reads all of them into memory.
        batches = batches.take(self.args.steps).cache()
        model.fit(batches, verbose=0)
        rows = sum(len(batch["user_id"]) for batch in batches.as_numpy_iterator())
        started = time.perf_counter()
        model.fit(batches, verbose=0)
        return rows / (time.perf_counter() - started)

    def _evaluation(self, model) -> float:
        impressions = self.impressions.take(slice(0, self.args.evaluated))
        batches = tfrs_npa.impression_batches(
            impressions, self.catalog, self.users, model.config, batch_size=512
        )
        model.evaluate(batches, verbose=0)
        started = time.perf_counter()
        model.evaluate(batches, verbose=0)
        return len(impressions.candidate_values) / (time.perf_counter() - started)


def _description(device) -> str:
    import tensorflow as tf

    return tf.config.experimental.get_device_details(device).get("device_name", device.device_type)


if __name__ == "__main__":
    main()
