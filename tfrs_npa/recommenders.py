"""Configurations and weights of Microsoft Recommenders' NPAModel."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfrs_npa._hdf5 import require_own_data
from tfrs_npa._quoting import quoted, shortened

# Reading a configuration needs no NumPy.
if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# Left: the name in Microsoft Recommenders' npa.yaml. Right: ours.
_NAMES = {
    "title_size": "title_length",
    "his_size": "history_length",
    "npratio": "negatives_per_positive",
    "word_emb_dim": "word_embedding_dim",
    "user_emb_dim": "user_embedding_dim",
    "filter_num": "num_filters",
    "window_size": "window_size",
    "attention_hidden_dim": "attention_dim",
    "dropout": "dropout",
    "learning_rate": "learning_rate",
    "batch_size": "batch_size",
    "seed": "seed",
}
# Keys that can have only one value in NPA; any other describes a different model.
_FIXED = {
    "model_type": "npa",
    "cnn_activation": "relu",
    "loss": "cross_entropy_loss",
    "optimizer": "adam",
    "data_format": "news",
}
# Keys that belong to a run (files, logging, number of epochs), not to the model.
_IGNORED = frozenset(
    "epochs show_step save_epoch save_model metrics wordEmb_file wordDict_file userDict_file "
    "vertDict_file subvertDict_file MODEL_DIR support_quick_scoring word_size user_num".split()
)
_SECTIONS = frozenset(("data", "model", "train", "info"))


def is_npa_yaml(values: Mapping[str, Any]) -> bool:
    """Whether the content of a YAML file has the layout of Recommenders' npa.yaml."""
    return bool(_SECTIONS & set(values))


def fields_of_npa_yaml(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Translates the sections of Recommenders' npa.yaml to fields of `tfrs_npa.NPAConfig`.

    Args:
        sections: Names and values by section.

    Raises:
        ValueError: if a section or a key is not known, or a value would make another model.
    """
    fields = {}
    for section, entries in sections.items():
        if section not in _SECTIONS:
            raise ValueError(f"{quoted(section)} is not a section of Recommenders' npa.yaml.")
        if not isinstance(entries or {}, Mapping):
            raise ValueError(
                f"{section} has to hold `name: value` lines; it holds {quoted(entries)}."
            )
        for key, value in (entries or {}).items():
            if key == "dropout" and isinstance(value, list) and len(value) == 1:
                value = value[0]  # some copies of the file write a rate for each layer
            if key in _NAMES:
                fields[_NAMES[key]] = value
            elif key in _FIXED:
                if value != _FIXED[key]:
                    raise ValueError(f"{key} is {quoted(value)}; NPA has {_FIXED[key]!r}.")
            elif key not in _IGNORED:
                raise ValueError(
                    f"{section}.{shortened(str(key), 60)} is not a key of Recommenders' npa.yaml."
                )
    return fields


def load_recommenders_weights(
    model: tf.keras.Model, weights: Sequence[np.ndarray] | str | os.PathLike[str]
) -> None:
    """Loads the weights of Microsoft Recommenders' `NPAModel` into a `tfrs_npa.NPA`.

    Apart from dropout, both models then give the same scores. Words and users must have the same
    order in both. Recommenders' word row 0 stands for padding and for unknown words, so it goes to
    our rows 0 and 1, and its row `i` to our row `i + 1`. User rows keep their indices: row 0, which
    no user has there, is our unknown user.

    Example:
        >>> model = tfrs_npa.NPA(tfrs_npa.NPAConfig.from_yaml("npa.yaml"), catalog, users)
        >>> tfrs_npa.load_recommenders_weights(model, "npa.h5")

    `docs/migrating.md` makes `catalog` and `users` of their files.

    Args:
        model: A `tfrs_npa.NPA` whose configuration has `attention="recommenders"` and both
            attentions `"personalized"`, as `NPAConfig.preset("recommenders")` has.
        weights: A file that `NPAModel.model.save_weights("npa.h5")` wrote, or
            `numpy.savez("npa.npz", *NPAModel.model.get_weights())`; or the result of
            `NPAModel.model.get_weights()` itself, in its order: `word_embedding`
            `[words, word_embedding_dim]`, `user_embedding` `[users, user_embedding_dim]`,
            `conv_kernel` `[window_size, word_embedding_dim, num_filters]`, `conv_bias`
            `[num_filters]`; then for the attention over words (`news_`) and the one over articles
            (`user_`) `query_kernel` `[user_embedding_dim, attention_dim]`, `query_bias`
            `[attention_dim]`, `att_kernel` `[num_filters, attention_dim]` and `att_bias`
            `[attention_dim]`.

    Raises:
        ValueError: If the model has another form of attention, or there are not 12 arrays of these
            shapes, or a file has parts in other files. The model keeps its weights then.
        OSError: If there is no such file.
    """
    import numpy as np

    config = model.config
    form = (config.attention, config.word_attention, config.news_attention)
    if form != ("recommenders", "personalized", "personalized"):
        raise ValueError(
            "Recommenders' weights need attention='recommenders' and personalized word_attention "
            f"and news_attention; this model has {', '.join(map(repr, form))}. Start from "
            'NPAConfig.preset("recommenders").'
        )
    if isinstance(weights, (str, os.PathLike)):
        weights = _read_weights(pathlib.Path(weights))
    tower = model.candidate_tower
    variables = {
        "word_embedding": tower.word_table,
        "user_embedding": model.user_embedding.table,
        "conv_kernel": tower.convolution_kernel,
        "conv_bias": tower.convolution_bias,
    }
    for name, attention in (("news", tower.attention), ("user", model.query_tower.attention)):
        variables |= {
            f"{name}_query_kernel": attention.query_kernel,
            f"{name}_query_bias": attention.query_bias,
            f"{name}_att_kernel": attention.key_kernel,
            f"{name}_att_bias": attention.key_bias,
        }
    if len(weights) != len(variables):
        raise ValueError(
            f"NPAModel.model.get_weights() gives {len(variables)} arrays ({', '.join(variables)}); "
            f"found {len(weights)}."
        )
    arrays = dict(zip(variables, map(np.asarray, weights)))
    for name, variable in variables.items():
        expected = tuple(variable.shape)
        if name == "word_embedding":
            expected = (expected[0] - 1, *expected[1:])
        if arrays[name].shape != expected:
            raise ValueError(
                f"{name} has to have the shape {expected} for this model; found "
                f"{arrays[name].shape}. Do vocabulary, users and dimensions come from the same "
                "training?"
            )
    words = arrays["word_embedding"]
    arrays["word_embedding"] = np.concatenate([words[:1], words])
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _read_weights(path: pathlib.Path) -> list[np.ndarray]:
    import h5py
    import numpy as np

    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
    if path.suffix not in (".h5", ".hdf5"):
        raise ValueError(
            f"{path} is neither .npz nor .h5. Load it there, with model.model.load_weights, and "
            'save it with numpy.savez("npa.npz", *model.model.get_weights()).'
        )
    require_own_data(path)
    with h5py.File(path) as file:
        if "layer_names" not in file.attrs:
            raise ValueError(f'{path} is not a file that model.model.save_weights("npa.h5") wrote.')
        layers = [file[name] for name in file.attrs["layer_names"]]
        # Its towers share layers, which are in the file once for each of them.
        arrays = {name: layer[name][()] for layer in layers for name in layer.attrs["weight_names"]}
    return list(arrays.values())
