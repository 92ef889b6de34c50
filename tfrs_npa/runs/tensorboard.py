"""What TensorBoard shows of a training."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator, Mapping

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

# Of an impression that is shown: its last clicks, candidates, and words of each title.
_CLICKS, _CANDIDATES, _WORDS = 6, 5, 12
_LETTERS = 10
_SHOWN = 2
# Impressions among which those are found.
_SEARCHED = 2_000
_LEAST_CLICKS = 3
# Times the weight that all words, or clicks, would have if they were equal.
_DARKEST = 3
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
        return {name: float(rate) for name, rate in rates.items()}


class Attention(tf.keras.callbacks.Callback):
    """Draws the weights of clicked articles and of words, of the same impressions in each epoch.

    Step 0 is the model before its first step. The images are heat maps: a line for each of the last
    clicks and of the first candidates, the clicked ones first; a cell for each word, as dark as its
    weight; and on the left the weight of a click, or the score of a candidate.

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

    def on_train_begin(self, logs=None):
        """Makes the batch."""
        self._batch = None
        # The tables of parameter servers are not in this process.
        if len(self._impressions) and not has_parameter_servers(self.model.distribute_strategy):
            model = self.model
            batches = impression_batches(
                self._impressions, model.catalog, model.users, model.config, batch_size=_SHOWN
            )
            self._batch = next(iter(batches))

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
        if self._batch is None:
            return
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder / "attention"))
        with self._writer.as_default():
            for number, figure in enumerate(attention_figures(self.model, self._batch)):
                image = pixels(figure)[np.newaxis]
                tf.summary.image(f"impression_{number + 1}", image, step=step)
        self._writer.flush()


def attention_figures(model: NPA, batch: Mapping[str, tf.Tensor]) -> Iterator:
    """Draws heat maps of the attention weights of impressions; see `Attention`.

    Args:
        model: The model.
        batch: A batch of `impression_batches`.

    Yields:
        A `matplotlib.figure.Figure` for each impression.
    """
    found = explain(model, batch["user_id"], batch["history"], batch["candidates"])
    values = {name: value.numpy() for name, value in found._asdict().items()}
    history, candidates, clicked = (
        batch[name].numpy() for name in ("history", "candidates", "clicked")
    )
    for row in range(len(history)):
        clicks = np.flatnonzero(history[row] > UNKNOWN_ARTICLE)
        shown = np.flatnonzero(candidates[row] != PADDING)
        shown = shown[np.argsort(clicked[row, shown] != 1, kind="stable")][:_CANDIDATES]
        lines = [
            (
                history[row, place],
                f"{values['history_weights'][row, place]:.2f}",
                values["history_weights"][row, place] * len(clicks),
                values["history_word_weights"][row, place],
            )
            for place in clicks[-_CLICKS:]
        ]
        lines += [
            (
                candidates[row, place],
                f"{values['scores'][row, place]:+.1f}" + " ✓" * int(clicked[row, place] == 1),
                0,
                values["candidate_word_weights"][row, place],
            )
            for place in shown
        ]
        yield _heat_map(model, lines, len(clicks[-_CLICKS:]))


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


def _heat_map(model: NPA, lines, clicks: int):
    """Draws titles, a line each: the article, a text, a weight, and the weights of the words."""
    words = model.catalog.require_vocabulary().words
    tokens = model.candidate_tower.tokens
    columns = min(model.config.title_length, _WORDS)
    shades = np.zeros([len(lines), columns + 1])
    figure = new_figure(1.2 + 0.72 * (columns + 1), 0.9 + 0.26 * len(lines))
    axes = figure.subplots()
    for row, (article, text, weight, weights) in enumerate(lines):
        title = tf.gather(tokens, article).numpy()
        shades[row, 0] = weight
        shades[row, 1:] = weights[:columns] * np.count_nonzero(weights)
        cells = [text, *(words[token][:_LETTERS] for token in title[:columns])]
        for column, cell in enumerate(cells):
            style = {"color": "white" if shades[row, column] > 0.6 * _DARKEST else "black"}
            place = {"horizontalalignment": "center", "verticalalignment": "center"}
            axes.text(column, row, cell, fontsize=7, parse_math=False, **style, **place)
    image = axes.imshow(shades, cmap="Blues", vmin=0, vmax=_DARKEST, aspect="auto")
    axes.axhline(clicks - 0.5, color="black", linewidth=1)
    axes.axvline(0.5, color="black", linewidth=1)
    axes.set_xticks([0, *range(1, columns + 1)], ["weight\nor score", *range(1, columns + 1)])
    axes.set_yticks(
        [(clicks - 1) / 2, clicks + (len(lines) - clicks - 1) / 2],
        ["clicked\nbefore", "candidates\n(✓ clicked)"],
    )
    axes.tick_params(labelsize=7, length=0)
    axes.set_xlabel("word of the title", fontsize=7)
    bar = figure.colorbar(image, extend="max", aspect=12)
    bar.set_label("weight, 1: all equal", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure
