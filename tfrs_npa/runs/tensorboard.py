"""What TensorBoard shows of a training."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_npa._figures import new_figure, pixels
from tfrs_npa._files import atomic_file
from tfrs_npa.data.batches import impression_batches
from tfrs_npa.data.catalog import FIRST_ARTICLE, PADDING, UNKNOWN_ARTICLE
from tfrs_npa.data.impressions import Impressions
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.models.explanation import explain
from tfrs_npa.models.npa import NPA
from tfrs_npa.models.replicas import has_parameter_servers
from tfrs_npa.optimizers import LazyAdam

_SHOWN = 3
# Of an impression that is shown: its last clicks, candidates, words of each title, their letters.
_CLICKS, _CANDIDATES, _WORDS, _LETTERS = 6, 5, 12, 10
# Impressions among which those are found.
_SEARCHED = 2_000
_LEAST_CLICKS = 3
# Times the weight that all words, or clicks, would have if they were equal.
_DARKEST = 3
# The blue of the figures, pale enough for black words.
_SHADE = np.array([102, 170, 209], np.float32)
_ARTICLES = 2_000
_BLOCK = 500


class TensorBoard(tf.keras.callbacks.TensorBoard):
    """Writes the metrics of each epoch, its learning rates and its throughput.

    Trained epochs are counted from 1. Metrics of known and of new users are among those of the
    model. The throughput is of training alone, without the validation after it.

    Args:
        folder: Where the logs are written.
        rows: How many rows an epoch has; None: without the throughput.
    """

    def __init__(self, folder: pathlib.Path, rows: int | None = None):
        super().__init__(folder, write_graph=False)
        self._rows = rows

    def on_epoch_begin(self, epoch, logs=None):
        """Starts to measure the seconds of training."""
        super().on_epoch_begin(epoch, logs)
        self._started, self._seconds = time.monotonic(), None

    def on_test_begin(self, logs=None):
        """Stops to measure them: the validation begins."""
        super().on_test_begin(logs)
        self._seconds = time.monotonic() - self._started

    def on_epoch_end(self, epoch, logs=None):
        """Writes what there is of the epoch."""
        seconds = self._seconds or time.monotonic() - self._started
        speed = {} if self._rows is None else {"rows_per_second": self._rows / seconds}
        super().on_epoch_end(epoch + 1, {**(logs or {}), **speed, **self._learning_rates()})

    def _learning_rates(self) -> dict[str, float]:
        optimizer = self.model.optimizer
        rates = {"learning_rate": optimizer.learning_rate}
        if isinstance(optimizer, LazyAdam):
            for variable in self.model.trainable_variables:
                # A shard of a table is `user_table/part_0`.
                table = variable.name.split(":")[0].split("/")[0]
                if table.endswith("_table"):
                    rates[f"learning_rate_of_{table}"] = optimizer.learning_rate_of(variable)
        # Under a strategy, a variable is no number until it is read.
        return {name: float(tf.convert_to_tensor(rate)) for name, rate in rates.items()}


class Attention(tf.keras.callbacks.Callback):
    """Draws the attention weights of a few impressions, the same ones in each epoch.

    Step 0 is the model before its first step. The images are heat maps with a line for each of the
    last clicks and of a few candidates, the clicked ones first. The cells of words have the weights
    of words; the first cell has the weight of a click, or the probability of a candidate (the
    softmax of the scores of all candidates). All are in relation to what they were if all words of
    the title, all clicks or all candidates had the same.

    Args:
        folder: Where the logs are written.
        impressions: Labelled impressions, of which the first that suit are shown: of known users
            with clicks in their history and among the candidates.
    """

    def __init__(self, folder: pathlib.Path, impressions: Impressions):
        super().__init__()
        self._folder = folder
        self._impressions = _chosen(impressions)
        self._writer: tf.summary.SummaryWriter | None = None
        self._shown: list[_Shown] = []

    def on_train_begin(self, logs=None):
        """Prepares the images."""
        model = self.model
        # The tables of parameter servers are not in this process.
        if not len(self._impressions) or has_parameter_servers(model.distribute_strategy):
            return
        batches = impression_batches(
            self._impressions, model.catalog, model.users, model.config, batch_size=_SHOWN
        )
        self._batch = next(iter(batches))
        self._shown = _shown(model, self._batch)
        self._writer = tf.summary.create_file_writer(str(self._folder / "attention"))

    def on_epoch_begin(self, epoch, logs=None):
        """Draws the untrained model."""
        if not epoch:
            self._draw(0)

    def on_epoch_end(self, epoch, logs=None):
        """Draws the model as it is."""
        self._draw(epoch + 1)

    def on_train_end(self, logs=None):
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()

    def _draw(self, step: int) -> None:
        if self._writer is None:
            return
        batch = self._batch
        found = explain(self.model, batch["user_id"], batch["history"], batch["candidates"])
        values = {name: value.numpy() for name, value in found._asdict().items()}
        with self._writer.as_default():
            for row, shown in enumerate(self._shown):
                weights = _weights({name: value[row] for name, value in values.items()}, shown)
                image = shown.heat_map.image(weights)[np.newaxis]
                tf.summary.image(f"impression_{row + 1}", image, step=step)
        self._writer.flush()


class _Shown(NamedTuple):
    """What is shown of an impression, by the places in its batch."""

    heat_map: HeatMap
    clicks: np.ndarray
    all_clicks: int
    candidates: np.ndarray
    all_candidates: np.ndarray


def _shown(model: NPA, batch: Mapping[str, tf.Tensor]) -> list[_Shown]:
    vocabulary = model.catalog.require_vocabulary().words
    tokens = model.catalog.tokens(min(model.config.title_length, _WORDS))

    def words(articles) -> list[list[str]]:
        return [[vocabulary[token] for token in row if token] for row in tokens[articles]]

    found = []
    for history, candidates, clicked in zip(
        *(batch[name].numpy() for name in ("history", "candidates", "clicked")), strict=True
    ):
        clicks = np.flatnonzero(history > UNKNOWN_ARTICLE)
        everything = np.flatnonzero(candidates != PADDING)
        order = np.argsort(clicked[everything] != 1, kind="stable")[:_CANDIDATES]
        last, first = clicks[-_CLICKS:], everything[order]
        number = int(np.count_nonzero(clicked[first] == 1))
        heat_map = HeatMap(words(history[last]), words(candidates[first]), number)
        found.append(_Shown(heat_map, last, len(clicks), first, everything))
    return found


def _weights(values: Mapping[str, np.ndarray], shown: _Shown) -> np.ndarray:
    """Returns the weights that `HeatMap.image` takes, of an impression."""
    scores = values["scores"][shown.all_candidates]
    chances = np.zeros(len(values["scores"]))
    chances[shown.all_candidates] = np.exp(scores - scores.max())
    chances *= len(scores) / chances.sum()
    of_articles = [
        values["history_weights"][shown.clicks] * shown.all_clicks,
        chances[shown.candidates],
    ]
    of_words = np.concatenate(
        [
            values["history_word_weights"][shown.clicks],
            values["candidate_word_weights"][shown.candidates],
        ]
    )
    of_words *= np.count_nonzero(of_words, axis=1)[:, np.newaxis]
    columns = shown.heat_map.columns - 1
    return np.column_stack([np.concatenate(of_articles), of_words[:, :columns]])


class HeatMap:
    """Draws weights of the titles of an impression as the shades of cells with their words.

    The words are drawn once, with Matplotlib, which takes longer than all the rest of an epoch of a
    small training; `image` puts shades under them.

    Args:
        clicked: Words of the titles clicked before.
        candidates: Words of the titles of candidates, those that were clicked first.
        clicks: How many of the candidates were clicked.

    Attributes:
        columns: How many cells a line has: 1 + the words of the longest title.
    """

    def __init__(
        self, clicked: Sequence[Sequence[str]], candidates: Sequence[Sequence[str]], clicks: int
    ):
        titles = [*clicked, *candidates]
        columns = 1 + max(map(len, titles))
        left, below, above, width, height = 1.4, 0.4, 0.3, 0.75 * columns, 0.26 * len(titles)
        whole = width + left + 0.1, height + below + above
        figure = new_figure(*whole)
        figure.patch.set_alpha(0)
        figure.set_layout_engine("none")  # it takes longest, and would move the cells
        axes = figure.add_axes(
            (left / whole[0], below / whole[1], width / whole[0], height / whole[1])
        )
        axes.patch.set_alpha(0)
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(len(titles) - 0.5, -0.5)
        style: dict[str, Any] = {"fontsize": 7, "parse_math": False}
        for row, words in enumerate(titles):
            for column, word in enumerate(words, start=1):
                axes.text(column, row, word[:_LETTERS], ha="center", va="center", **style)
        axes.axhline(len(clicked) - 0.5, color="black", linewidth=1)
        axes.axvline(0.5, color="black", linewidth=1)
        axes.set_xticks(range(columns), ["article", *range(1, columns)])
        axes.set_xlabel(f"word of the title (white: weight 0; darkest: {_DARKEST} times equal)")
        names = [f"clicked before, {number + 1}" for number in range(len(clicked))]
        names += ["candidate, clicked"] * clicks + ["candidate"] * (len(candidates) - clicks)
        axes.set_yticks(range(len(titles)), names)
        axes.xaxis.label.set_fontsize(7)
        axes.tick_params(labelsize=7, length=0)
        drawn = pixels(figure).astype(np.float32)
        self._ink, self._alpha = drawn[..., :3], drawn[..., 3:] / 255
        bounds = axes.get_window_extent()
        high = len(drawn)  # where a figure has 0 at the bottom
        self._rows = _cells(high - bounds.y1, high - bounds.y0, len(titles), high)
        self.columns = columns
        self._columns = _cells(bounds.x0, bounds.x1, columns, drawn.shape[1])

    def image(self, weights: np.ndarray) -> np.ndarray:
        """Draws weights.

        Args:
            weights: `[titles, 1 + words]`, those of articles and then those of their words: 1 if
                all are equal.

        Returns:
            uint8 `[height, width, 3]`.
        """
        # The last row and the last column are the paper around the cells.
        shades = np.zeros(np.array(weights.shape) + 1, np.float32)
        shades[:-1, :-1] = np.clip(weights / _DARKEST, 0, 1)
        shades = shades[self._rows[:, np.newaxis], self._columns, np.newaxis]
        paper = 255 + shades * (_SHADE - 255)
        return np.round(paper + (self._ink - paper) * self._alpha).astype(np.uint8)


def write_projector(
    folder: pathlib.Path,
    model: NPA,
    views: Mapping[str, int],
    topics: Mapping[str, tuple[str, str]],
) -> None:
    """Writes the vectors of articles for TensorBoard's projector, with titles and categories.

    They are the vectors that titles have for a new user, of the articles that were shown most.

    Args:
        folder: Where TensorBoard looks for logs.
        model: The model.
        views: How often articles were shown, by id.
        topics: Category and subcategory of articles by id, as `MindData.topics` returns them.
    """
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    catalog = model.catalog
    ids = sorted(views, key=lambda news_id: -views[news_id])
    articles = catalog.index(ids)
    known = np.flatnonzero(articles >= FIRST_ARTICLE)[:_ARTICLES]
    if not len(known) or has_parameter_servers(model.distribute_strategy):
        return
    config = projector.ProjectorConfig()
    config.embeddings.add(
        tensor_name="articles",
        tensor_path="articles.tsv",
        metadata_path="article_metadata.tsv",
    )
    with (
        atomic_file(folder / "articles.tsv") as vectors,
        atomic_file(folder / "article_metadata.tsv") as metadata,
        atomic_file(folder / "projector_config.pbtxt") as configuration,
    ):
        np.savetxt(vectors, _vectors(model, articles[known]), fmt="%.4g", delimiter="\t")
        lines = [("title", "category", "subcategory", "shown")]
        for place in known:
            topic = topics.get(ids[place], ("", ""))
            title = catalog.titles[articles[place]]
            lines.append((title or ids[place], *topic, str(views[ids[place]])))
        text = "".join("\t".join(" ".join(cell.split()) for cell in line) + "\n" for line in lines)
        metadata.write_text(text, encoding="utf-8")
        configuration.write_text(text_format.MessageToString(config), encoding="utf-8")


def _vectors(model: NPA, articles: np.ndarray) -> np.ndarray:
    blocks = []
    for start in range(0, len(articles), _BLOCK):
        some = articles[start : start + _BLOCK]
        users = np.full(len(some), UNKNOWN_USER)
        found = model.candidate_tower({"user_id": users, "news_id": some})
        # Without the terms that are added to scores.
        blocks.append(found[:, : model.config.num_filters].numpy())
    return np.concatenate(blocks)


def _chosen(impressions: Impressions) -> Impressions:
    """Returns the first impressions that suit, of as many users."""
    packed = impressions.take(slice(0, _SEARCHED))
    found: dict[int, int] = {}
    for row, user in enumerate(packed.user_id.tolist()):
        history = packed.history_values[slice(*packed.history_splits[row : row + 2])]
        clicked = packed.clicked[slice(*packed.candidate_splits[row : row + 2])]
        enough = np.count_nonzero(history > UNKNOWN_ARTICLE) >= _LEAST_CLICKS
        if user != UNKNOWN_USER and enough and (clicked == 1).any() and (clicked == 0).any():
            found.setdefault(user, row)
        if len(found) == _SHOWN:
            break
    return packed.take(np.array(list(found.values()), np.int64))


def _cells(start: float, end: float, number: int, pixels_: int) -> np.ndarray:
    """Returns the cell of each pixel of an axis, -1 outside."""
    places = (np.arange(pixels_) + 0.5 - start) / (end - start) * number
    return np.where((places >= 0) & (places < number), np.floor(places), -1).astype(np.int64)
