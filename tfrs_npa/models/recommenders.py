"""Weights trained with Microsoft Recommenders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrs_npa.models.npa import NPA


def load_recommenders_weights(model: NPA, weights: Sequence[np.ndarray]) -> None:
    """Gives a model the weights of Microsoft Recommenders' `NPAModel`.

    Their scores and ours are then equal, dropout aside. Words and users have to have the same
    order here as there. Their word row 0 stands for padding and for unknown words, so it goes to
    both of ours, 0 and 1, and their row `i` to our row `i + 1`. User rows keep their numbers: their
    row 0, which no user of theirs has, is our unknown user.

    Example:
        # There: their_model is a newsrec.models.npa.NPAModel. Words and users count from 1.
        weights = their_model.model.get_weights()
        words = sorted(word_dict, key=word_dict.get)
        user_ids = sorted(uid2index, key=uid2index.get)

        # Here:
        catalog = tfrs_npa.NewsCatalog(vocabulary=tfrs_npa.Vocabulary.from_words(words))
        catalog.extend(news)
        users = tfrs_npa.UserIndex().adapt({"user_id": user_ids})
        config = tfrs_npa.NPAConfig.from_yaml("npa.yaml")
        model = tfrs_npa.NPA(config, catalog, users)
        tfrs_npa.load_recommenders_weights(model, weights)

    Args:
        model: A model whose configuration has `attention="recommenders"` and both attentions
            `"personalized"`, as `NPAConfig.preset("recommenders")` has.
        weights: What `NPAModel.model.get_weights()` gives, in its order: `word_embedding`
            `[words, word_embedding_dim]`, `user_embedding` `[users, user_embedding_dim]`,
            `conv_kernel` `[window_size, word_embedding_dim, num_filters]`, `conv_bias`
            `[num_filters]`; then for the attention over words (`news_`) and the one over articles
            (`user_`) `query_kernel` `[user_embedding_dim, attention_dim]`, `query_bias`
            `[attention_dim]`, `att_kernel` `[num_filters, attention_dim]` and `att_bias`
            `[attention_dim]`.

    Raises:
        ValueError: If the model is of another form, or there are not 12 arrays of these shapes.
            The model keeps its weights then.
    """
    config = model.config
    form = (config.attention, config.word_attention, config.news_attention)
    if form != ("recommenders", "personalized", "personalized"):
        raise ValueError(
            "Recommenders' weights need attention='recommenders' and personalized word_attention "
            f"and news_attention; this model has {', '.join(map(repr, form))}. Start from "
            'NPAConfig.preset("recommenders").'
        )
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
