"""Hyper-parameters of NPA: presets, validation, YAML."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import yaml

from tfrs_npa._quoting import did_you_mean, quoted
from tfrs_npa._yaml import read_yaml
from tfrs_npa.recommenders import fields_of_npa_yaml, is_npa_yaml

ATTENTION_FORMS = ("recommenders", "paper")
ATTENTION_KINDS = ("personalized", "vanilla", "mean")
HISTORY_SAMPLING = ("last", "random")
WORD_INITIALIZERS = ("titles", "normal")
USER_INTERESTS = ("mean", "density")
UNKNOWN_ARTICLES = ("left_out", "untitled")
SCHEDULES = ("constant", "linear", "cosine")


@dataclasses.dataclass(frozen=True)
class NPAConfig:
    """Hyper-parameters of NPA, immutable and compared by value.

    Plain `NPAConfig()` is this project's recipe at full dimensions; `NPAConfig.preset` gives the
    two published forms and a small one. Change a field with `config.replace(dropout=0.1)`.

    Attributes:
        attention: Form of the attention. `"recommenders"` (Microsoft Recommenders' NPAModel) or
            `"paper"` (Wu et al., KDD 2019, section 3); see `tfrs_npa.PersonalizedAttention`.
        word_attention: `"personalized"`, `"vanilla"` (one learned query for everyone) or `"mean"`
            (no attention) over the words of a title; the paper's ablation, figures 5 and 6.
        news_attention: The same choice over the articles of a history.
        title_length: Words of a title that are read.
        history_length: Clicked articles of a user that are read.
        history_sampling: `"last"` reads the latest clicks, `"random"` draws some for each training
            row (evaluation always reads the latest).
        history_rows: Training rows made of each user's history, besides those of impressions: which
            article did they click, given their other clicks? See
            `tfrs_npa.data.history_rows.HistoryRows`.
        word_embedding_dim: Size E of a word embedding.
        word_initializer: Start of the word table when no pretrained vectors are given. `"titles"`:
            vectors in which words of the same titles are alike, see
            `tfrs_npa.data.word_vectors.title_word_vectors`; `"normal"`: draws with a standard
            deviation of 0.4.
        center_words: Whether the initial word vectors, pretrained or of titles, are centred by how
            often words occur and turned to their principal axes, and words without a vector start
            at zero.
        user_embedding_dim: Size U of a user embedding.
        user_initializer: Keras initializer of the user table, such as `"uniform"`, or `"zeros"`,
            with which every user starts out alike. In the `paper` form zeros need
            `uniform_attention`: behind a relu, they have no gradient without it.
        num_filters: Filters F of the convolution; also the size of article and user vectors.
        window_size: Width of the convolution, in words.
        filter_bias: Initial bias of the convolution; below zero, a filter fires for fewer words.
        residual: Whether a contextual word is its own embedding (cut or padded with zeros to
            `num_filters`; with `center_words`, a cut keeps what tells words apart best) plus the
            convolution, `c_i = x_i + g * relu(conv(x))_i` with a learned g `[num_filters]` that
            starts at zero. An untrained title is then the mean of its words.
        unit_vectors: Whether the vector r_u of an article has unit length.
        logit_scale: With unit vectors, the initial value b of the learned factor of their
            products, as in CLIP (Radford et al., 2021, section 2.3).
        user_interest: `"mean"`: a user vector, the weighted mean of the clicked articles', as
            published. `"density"`: the score is the log ratio of two densities at the candidate,
            that of the user's clicks and that of everyone's; see `tfrs_npa.models.user_encoder`.
            It needs `unit_vectors`.
        mean_weight: With `"density"`, the initial value of the learned weight that the product with
            the mean of the clicked articles has beside the density; 0: it has no part.
        background_titles: Titles that everyone's density starts from.
        temperature: What scores are divided by in the loss. Log ratios are surer of a click than
            people are: above 1, training does not begin by making them smaller. Scores, and so
            their order, stay as they are.
        item_bias: Whether a score has a term that depends on the title alone.
        attention_dim: Size A of the attention's hidden layer.
        uniform_attention: Whether attention weights are equal before training, those of users whose
            embedding starts at zero.
        dropout: Dropout rate after the word embedding and after the convolution.
        pooling_dropout: Extra dropout rate on the values that an attention pools.
        user_dropout: Share of training rows whose user is replaced by the unknown user, so that
            the unknown user's row is trained.
        unknown_articles: What becomes of articles that the catalogue does not hold, such as those
            that are newer than it. `"left_out"`: a history is read as if they had not been
            clicked, and a candidate gets the mean score of the known candidates of its list, 0 if
            it has none. `"untitled"`: they are articles with an empty title, as in the published
            code.
        mask_padding: If true, padded words and articles get no attention weight, padded word
            embeddings are zero before the convolution, and a user without clicks gets a learned
            default vector. If false, padding takes part in everything, as in the published code.
        negatives_per_positive: Non-clicked articles K drawn for each clicked one.
        learning_rate: Adam's learning rate of the dense weights.
        table_learning_rate: Learning rate of the word and user tables; None: `learning_rate`.
        user_learning_rate: Learning rate of the user table; None: `table_learning_rate`.
        schedule: `"constant"`, or `"linear"` or `"cosine"` decay of the learning rates to zero
            over the training; see `tfrs_npa.default_optimizer`.
        warmup_steps: Steps over which the learning rates rise to their values. A small training set
            is thus trained gently, which it needs: epochs on it have few steps.
        batch_size: Rows of a training batch, impressions of an evaluation batch.
        seed: Seed of the weights, of dropout, and of the sampling of batches.

    Raises:
        ValueError: if a value has the wrong type or is out of range.
    """

    attention: str = "recommenders"
    word_attention: str = "personalized"
    news_attention: str = "personalized"
    title_length: int = 30
    history_length: int = 50
    history_sampling: str = "last"
    history_rows: int = 4
    word_embedding_dim: int = 300
    word_initializer: str = "titles"
    center_words: bool = True
    user_embedding_dim: int = 100
    user_initializer: str = "zeros"
    num_filters: int = 400
    window_size: int = 3
    filter_bias: float = 0.0
    residual: bool = True
    unit_vectors: bool = True
    logit_scale: float = 4.0
    user_interest: str = "density"
    mean_weight: float = 1.0
    background_titles: int = 512
    temperature: float = 3.0
    item_bias: bool = True
    attention_dim: int = 200
    uniform_attention: bool = True
    dropout: float = 0.1
    pooling_dropout: float = 0.0
    user_dropout: float = 0.5
    unknown_articles: str = "left_out"
    mask_padding: bool = True
    negatives_per_positive: int = 4
    learning_rate: float = 5e-3
    table_learning_rate: float | None = 1.5e-2
    user_learning_rate: float | None = 5e-3
    schedule: str = "linear"
    warmup_steps: int = 200
    batch_size: int = 64
    seed: int = 42

    def __post_init__(self) -> None:
        for name in FIELD_TYPES:
            object.__setattr__(self, name, _checked(name, getattr(self, name)))
        if self.user_interest == "density" and not self.unit_vectors:
            raise ValueError("user_interest=density needs unit_vectors=true.")
        kernel = self.window_size * self.word_embedding_dim * self.num_filters
        if kernel > _MOST_WEIGHTS:
            raise ValueError(
                f"window_size, word_embedding_dim and num_filters make a convolution of {kernel:,} "
                f"weights; at most {_MOST_WEIGHTS:,} are allowed."
            )

    @classmethod
    def preset(cls, name: str) -> NPAConfig:
        """Returns a named configuration.

        Args:
            name: `"recommenders"` (Microsoft Recommenders' NPAModel and its npa.yaml), `"paper"`
                (KDD 2019 and the authors' code), or `"small"` (this project's recipe at
                dimensions that train in minutes on two cores).

        Raises:
            ValueError: if there is no such preset.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise ValueError(f"There is no preset {quoted(name)}; there are {', '.join(PRESETS)}.")
        return cls(**PRESETS[name])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], base: NPAConfig | None = None) -> NPAConfig:
        """Returns a configuration from field names and values.

        Args:
            values: Fields by name.
            base: Supplies the fields missing from `values`; None: `NPAConfig()`.

        Raises:
            ValueError: if a key is not a field, naming the closest one.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                hint = did_you_mean(key, names) or "; docs/hyper_parameters.md lists them."
                raise ValueError(f"{quoted(key)} is not a hyper-parameter{hint}")
        return dataclasses.replace(base or cls(), **values)

    @classmethod
    def from_saved(cls, values: Mapping[str, Any]) -> NPAConfig:
        """Returns a configuration from what `to_dict` gave, in this version or an earlier one.

        Fields that the earlier version did not have are off, so that a saved model stays as it is.

        Args:
            values: Fields by name.

        Raises:
            ValueError: as `from_dict`.
        """
        return cls.from_dict({**_OFF, **values})

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], base: NPAConfig | None = None) -> NPAConfig:
        """Reads a YAML file with this project's names or with those of Recommenders' npa.yaml.

        A file in Recommenders' layout (sections `data`, `model`, `train`, `info`) starts from
        `preset("recommenders")`, any other from `base`. A field that is not in the file keeps
        its value there.

        Args:
            path: The file.
            base: Where missing fields come from; None: `NPAConfig()`, or
                `preset("recommenders")` for a file in Recommenders' layout.

        Raises:
            ValueError: if the file is not a YAML mapping, or a key or a value is not known.
            FileNotFoundError: if there is no such file.
        """
        values = read_yaml(path)
        if not isinstance(values, Mapping):
            raise ValueError(f"{path} has to hold `name: value` lines; it holds {quoted(values)}.")
        try:
            if is_npa_yaml(values):
                values = fields_of_npa_yaml(values)
                base = base or cls.preset("recommenders")
            return cls.from_dict(values, base)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @property
    def is_published(self) -> bool:
        """Whether it is of a published form: all that this project added to them is off."""
        return all(getattr(self, name) == value for name, value in _OFF.items())

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields by name; `NPAConfig.from_dict` is the inverse."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """Returns the fields as YAML text that `from_yaml` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def replace(self, **changes: Any) -> NPAConfig:
        """Returns a copy with some fields changed.

        Raises:
            ValueError: if a name is not a field, or a value is out of range.
        """
        return self.from_dict(changes, base=self)


_SMALL = {
    "word_embedding_dim": 64,
    "user_embedding_dim": 32,
    "num_filters": 128,
    "attention_dim": 32,
    "dropout": 0.0,
}
# Fields that published forms do not have, and configurations saved before there were such fields.
_OFF = {
    "history_rows": 0,
    "center_words": False,
    "residual": False,
    "unit_vectors": False,
    "user_interest": "mean",
    "mean_weight": 0.0,
    "temperature": 1.0,
    "item_bias": False,
    "uniform_attention": False,
    "unknown_articles": "untitled",
    "user_learning_rate": None,
    "warmup_steps": 0,
}
_RECOMMENDERS = {
    **_OFF,
    "attention": "recommenders",
    "title_length": 10,
    "word_initializer": "normal",
    "user_embedding_dim": 100,
    "user_initializer": "zeros",
    "filter_bias": 0.0,
    "dropout": 0.2,
    "pooling_dropout": 0.2,
    "user_dropout": 0.0,
    "mask_padding": False,
    "learning_rate": 1e-4,
    "table_learning_rate": None,
    "schedule": "constant",
    "batch_size": 32,
}
_PAPER = {
    **_OFF,
    "attention": "paper",
    "title_length": 30,
    "word_initializer": "normal",
    "user_embedding_dim": 50,
    "user_initializer": "uniform",
    "filter_bias": 0.0,
    "dropout": 0.2,
    "pooling_dropout": 0.0,
    "user_dropout": 0.0,
    "mask_padding": False,
    "learning_rate": 1e-3,
    "table_learning_rate": None,
    "schedule": "constant",
    "batch_size": 100,
}
PRESETS: dict[str, dict[str, Any]] = {
    "recommenders": _RECOMMENDERS,
    "paper": _PAPER,
    "small": _SMALL,
}

_CHOICES = {
    "attention": ATTENTION_FORMS,
    "word_attention": ATTENTION_KINDS,
    "news_attention": ATTENTION_KINDS,
    "history_sampling": HISTORY_SAMPLING,
    "word_initializer": WORD_INITIALIZERS,
    "user_interest": USER_INTERESTS,
    "unknown_articles": UNKNOWN_ARTICLES,
    "schedule": SCHEDULES,
}
# Far more than any model has that can be trained; so a slip of the keyboard is an error at once,
# not when memory is full.
_MOST_WEIGHTS = 2**30
_MOST = {
    **dict.fromkeys(("title_length", "window_size", "history_rows"), 1_000),
    **dict.fromkeys(("history_length", "negatives_per_positive"), 10_000),
    **dict.fromkeys(("word_embedding_dim", "user_embedding_dim"), 10_000),
    **dict.fromkeys(("num_filters", "attention_dim"), 10_000),
    **dict.fromkeys(("background_titles", "batch_size"), 1_000_000),
    "warmup_steps": 10**9,
    "seed": 2**32 - 1,  # of NumPy
}
_LEAST = {"seed": 0, "warmup_steps": 0, "history_rows": 0}  # of the other whole numbers: 1
_RATES = ("dropout", "pooling_dropout", "user_dropout")
_OPTIONAL = ("table_learning_rate", "user_learning_rate")
_POSITIVE = ("learning_rate", *_OPTIONAL, "logit_scale", "temperature")


def _field_types() -> dict[str, type]:
    hints = get_type_hints(NPAConfig)
    # `float | None` counts as `float`.
    return {name: (get_args(hint) or (hint,))[0] for name, hint in hints.items()}


FIELD_TYPES = _field_types()
"""Type of each field of `NPAConfig`: `str`, `bool`, `int` or `float`."""


def _checked(name: str, value: Any) -> Any:
    """Returns `value` in the field's type, or raises a ValueError that names the field."""
    type_: Any = FIELD_TYPES[name]
    is_optional = name in _OPTIONAL
    if value is None and is_optional:
        return None
    if type_ is float and not isinstance(value, bool):
        try:
            value = float(value)  # YAML 1.1 reads 1e-4, without a dot, as a string
        except (TypeError, ValueError, OverflowError):
            pass
    if not isinstance(value, type_) or isinstance(value, bool) is not (type_ is bool):
        wanted = f"{type_.__name__} | None" if is_optional else type_.__name__
        raise ValueError(f"{name} is {quoted(value)}; it has to be of type {wanted}.")
    if name in _CHOICES and value not in _CHOICES[name]:
        choices = ", ".join(_CHOICES[name])
        raise ValueError(f"{name} is {quoted(value)}; it has to be one of {choices}.")
    if type_ is int and value < _LEAST.get(name, 1):
        least = _LEAST.get(name, 1)
        raise ValueError(f"{name} is {quoted(value)}; it has to be at least {least}.")
    if name in _MOST and value > _MOST[name]:
        raise ValueError(f"{name} is {quoted(value)}; it has to be at most {_MOST[name]:,}.")
    if type_ is float and not abs(value) < float("inf"):
        raise ValueError(f"{name} is {value}; it has to be a finite number.")
    if name in _RATES and not 0 <= value < 1:
        raise ValueError(f"{name} is {value}; it has to be in [0, 1).")
    if name in _POSITIVE and not value > 0:
        raise ValueError(f"{name} is {value}; it has to be positive.")
    if name == "mean_weight" and not value >= 0:
        raise ValueError(f"{name} is {value}; it must not be negative.")
    return value
