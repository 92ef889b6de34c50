"""Batches for training and evaluation, as `tf.data.Dataset`s of integers.

Several processes that train together each make a part of every batch: the data sets have a method
`of_pipeline(input_context)` for `tf.distribute.Strategy.distribute_datasets_from_function`, which
`fit` and `evaluate` of our models call. Its data set has, of each batch in turn, one contiguous
part for each replica of the input pipeline; where a batch has fewer rows than there are replicas,
some parts have none. All parts together are the batch, draws included, but `history` and the lists
of an evaluation are as wide as the longest of the part.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfrs_npa.data import ragged
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.pipelines import without_autotuning
from tfrs_npa.data.sampling import TrainingRows, histories
from tfrs_npa.data.users import UserIndex

# Batches prepared ahead of the training step.
_PREFETCHED = 2


def training_batches(
    behaviors: tf.data.Dataset | Impressions,
    catalog: NewsCatalog,
    users: UserIndex,
    config,
    *,
    features: Sequence[str] = (),
    initial_epoch: int = 0,
) -> tf.data.Dataset:
    """Makes batches to train on: one row for each click, with negatives of the same impression.

    Each pass over the data set is the next epoch: its order, its negatives and, if
    `config.history_sampling` is `"random"`, its histories depend on `config.seed` and the epoch and
    on nothing else. A pass counts as an epoch as soon as its first batch is requested.
    `fit(steps_per_epoch=...)` continues a pass where it stopped, and needs the data set's
    `.repeat()`, whose repetitions are the next epochs; without it, training ends with the first
    pass.

    Impressions without a click, without labels, or with nothing but clicked articles give no rows.

    Args:
        behaviors: A behaviors data set (see `Impressions.from_dataset`), or `Impressions`.
        catalog: Indices of the articles.
        users: Indices of the users.
        config: An `NPAConfig`.
        features: Names of other features to pass through.
        initial_epoch: Epoch of the first pass; give the number of epochs that were trained before
            to resume a training as if it had not been interrupted. With Keras's `BackupAndRestore`,
            which finds that number itself, give what the first call had.

    Returns:
        A data set of known cardinality. Each element is a dict: `impression_id` `int64 [batch]`,
        `user_id` `int32 [batch]`, `history` `int32 [batch, history]`, `candidates` and `clicked`
        `int32 [batch, 1 + negatives_per_positive]`, the click first. 0 is padding on the right,
        where an impression has fewer negatives too. `history` is as long as the longest in the
        batch if `config.mask_padding`, else `history_length`. The last batch may be smaller.
        Unknown articles are neither in histories nor among candidates, unless
        `config.unknown_articles` is `"untitled"`. A feature of the impression is `[batch, ...]`;
        one of the candidates is `[batch, 1 + negatives_per_positive, ...]` in the order of
        `candidates`, 0 at padding and in rows made of histories (`config.history_rows`).

    Raises:
        TypeError: if `behaviors` is neither.
        ValueError: if a feature is missing or malformed, or there are no rows to train on.
    """
    impressions = _as_impressions(behaviors, catalog, users, features)
    return row_batches(TrainingRows(impressions, config), initial_epoch)


def row_batches(rows: TrainingRows, initial_epoch: int = 0, first_step: int = 0) -> tf.data.Dataset:
    """Makes the batches of `training_batches` from training rows.

    Args:
        rows: The rows; `rows.steps` is the number of batches in an epoch.
        initial_epoch: Epoch of the first pass.
        first_step: The batches of an epoch before this one are left out, in every pass.
    """
    config = rows.config

    @functools.lru_cache(maxsize=1)
    def order_of(epoch):
        # Seeds are padded with zeros, so [seed, epoch] is [seed, epoch, 0]: steps start at 1.
        return np.random.default_rng([config.seed, epoch]).permutation(len(rows))

    def make(epoch, step, part):
        chosen = order_of(int(epoch))[step * config.batch_size : (step + 1) * config.batch_size]
        generator = np.random.default_rng([config.seed, epoch, step + 1])
        return rows.batch(chosen, generator, part(len(chosen)))

    width = 1 + config.negatives_per_positive
    return _dataset(make, rows.steps, rows.impressions, config, width, initial_epoch, first_step)


def impression_batches(
    behaviors: tf.data.Dataset | Impressions,
    catalog: NewsCatalog,
    users: UserIndex,
    config,
    *,
    features: Sequence[str] = (),
    batch_size: int | None = None,
) -> tf.data.Dataset:
    """Makes batches to evaluate on: whole impressions in file order, with their last clicks.

    Args:
        behaviors: A behaviors data set (see `Impressions.from_dataset`), or `Impressions`.
        catalog: Indices of the articles.
        users: Indices of the users.
        config: An `NPAConfig`.
        features: Names of other features to pass through.
        batch_size: Impressions in a batch; `config.batch_size` by default.

    Returns:
        A data set of known cardinality. Each element is a dict: `impression_id` `int64 [batch]`,
        `user_id` `int32 [batch]`, `history` `int32 [batch, history]`, `candidates` and `clicked`
        `int32 [batch, candidates]`, as long as the longest list in the batch and padded with 0 on
        the right, unknown articles included. `clicked` is -1 where there is no label. `history` is
        as in `training_batches`. A feature of the impression is `[batch, ...]`, one of the
        candidates `[batch, candidates, ...]`, 0 at padding.

    Raises:
        TypeError: if `behaviors` is neither.
        ValueError: if a feature is missing or malformed, or there are no impressions.
    """
    impressions = _as_impressions(behaviors, catalog, users, features)
    if config.unknown_articles == "left_out":
        impressions = impressions.without_unknown_clicks()
    batch_size = config.batch_size if batch_size is None else batch_size

    def make(epoch, step, part):
        first = step * batch_size
        rows = np.arange(first, min(first + batch_size, len(impressions)))
        rows = rows[part(len(rows))]
        starts, lengths = ragged.bounds(impressions.candidate_splits, rows)
        width = max(1, lengths.max(initial=0))
        clicked = ragged.pad(impressions.clicked, starts, lengths, width)
        return {
            "impression_id": impressions.impression_id[rows],
            "user_id": impressions.user_id[rows],
            "history": histories(impressions, rows, config),
            "candidates": ragged.pad(impressions.candidate_values, starts, lengths, width),
            "clicked": clicked.astype(np.int32),
            **{name: array[rows] for name, array in impressions.features.items()},
            **{
                name: ragged.pad(array, starts, lengths, width)
                for name, array in impressions.candidate_features.items()
            },
        }

    return _dataset(make, -(-len(impressions) // batch_size), impressions, config, None)


def _as_impressions(behaviors, catalog, users, features):
    if not isinstance(behaviors, Impressions):
        return Impressions.from_dataset(behaviors, catalog, users, features)
    if not len(behaviors):
        raise ValueError("behaviors holds no impressions")
    of_impressions, of_candidates = behaviors.features, behaviors.candidate_features
    missing = [name for name in features if name not in {*of_impressions, *of_candidates}]
    if missing:
        raise ValueError(
            f"these impressions lack the feature {', '.join(missing)}: name it when you convert "
            "them, Impressions.from_dataset(..., features=[...])"
        )
    articles = max(
        behaviors.history_values.max(initial=0), behaviors.candidate_values.max(initial=0)
    )
    if articles >= len(catalog) or behaviors.user_id.max() >= len(users):
        raise ValueError(
            "these impressions were converted with another catalogue or user index: an article or "
            "a user is out of range"
        )
    return dataclasses.replace(
        behaviors,
        features={name: of_impressions[name] for name in features if name in of_impressions},
        candidate_features={
            name: of_candidates[name] for name in features if name in of_candidates
        },
    )


def part_of_batch(rows: int, replica: int, replicas: int) -> slice:
    """Returns which rows of a batch belong to one of the replicas that share it.

    Args:
        rows: Rows of the batch.
        replica: The replica, from 0 on.
        replicas: Number of replicas.
    """
    return slice(rows * replica // replicas, rows * (replica + 1) // replicas)


def _dataset(
    make: Callable[[int, int, Callable[[int], slice]], dict[str, np.ndarray]],
    steps: int,
    impressions: Impressions,
    config,
    candidates: int | None,
    initial_epoch: int = 0,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Returns the data set of `make(epoch, step, part)`; each pass over it is the next epoch.

    `part` gives the rows to make, given how many rows the batch has.
    """
    signature = {
        "impression_id": tf.TensorSpec([None], tf.int64),
        "user_id": tf.TensorSpec([None], tf.int32),
        "history": tf.TensorSpec(
            [None, None if config.mask_padding else config.history_length], tf.int32
        ),
        "candidates": tf.TensorSpec([None, candidates], tf.int32),
        "clicked": tf.TensorSpec([None, candidates], tf.int32),
    }
    for name, array in impressions.features.items():
        dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
        signature[name] = tf.TensorSpec([None, *array.shape[1:]], dtype)
    for name, array in impressions.candidate_features.items():
        signature[name] = tf.TensorSpec(
            [None, candidates, *array.shape[1:]], tf.as_dtype(array.dtype)
        )
    epochs = itertools.count(initial_epoch)

    def batch(epoch, step, replica, replicas):
        def arrays(epoch, step, replica):
            part = functools.partial(part_of_batch, replica=replica, replicas=replicas)
            made = make(epoch, step, part)
            return [made[name] for name in signature]

        dtypes = [spec.dtype for spec in signature.values()]
        made = tf.numpy_function(arrays, [epoch, step, replica], dtypes)
        pairs = zip(signature.items(), made, strict=True)
        return {name: tf.ensure_shape(array, spec.shape) for (name, spec), array in pairs}

    # Keras makes two iterators before its first step; only one of them gets as far as an epoch.
    epoch = tf.data.Dataset.from_tensors(0).map(
        lambda _: tf.numpy_function(lambda: next(epochs), [], tf.int64)
    )

    def parts(first, count, replicas):
        """Returns the data set of the parts of `count` replicas from the `first` on."""
        dataset = epoch.flat_map(
            lambda epoch: tf.data.Dataset.range(first_step * count, steps * count).map(
                lambda place: batch(epoch, place // count, first + place % count, replicas)
            )
        )
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality((steps - first_step) * count)
        )
        return without_autotuning(dataset.prefetch(_PREFETCHED))

    def of_pipeline(context):
        count, rest = divmod(context.num_replicas_in_sync, context.num_input_pipelines)
        if rest:
            raise ValueError(
                f"{context.num_replicas_in_sync} replicas cannot be divided evenly among "
                f"{context.num_input_pipelines} input pipelines"
            )
        return parts(context.input_pipeline_id * count, count, context.num_replicas_in_sync)

    dataset = parts(0, 1, 1)
    dataset.of_pipeline = of_pipeline
    return dataset
