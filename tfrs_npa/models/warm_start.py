"""A model that continues from another one, with the words and users of a later day."""

from __future__ import annotations

import numpy as np

from tfrs_npa.data.catalog import UNKNOWN_WORD
from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import copy_variables


def warm_start(source: NPA, target: NPA, follow_titles: bool = True) -> None:
    """Gives a model the weights of another one, which has other words and users.

    Words and users are matched by their strings, or users by their bucket if both models have as
    many. One that `source` does not have starts as its unknown word or user. If both models are
    compiled, the state of the optimizer is copied too: the number of steps, and the moments, which
    for new rows are those of the unknown one.

    With `config.word_initializer="titles"`, the words do not stay where they were: more titles say
    more about a word, so each word vector moves by as much as the vector that titles alone make of
    it has moved, and a new word starts from that one.

    >>> today = tfrs_npa.NPA(yesterday.config, catalog, users)
    >>> first_step = int(yesterday.optimizer.iterations)
    >>> today.compile(tfrs_npa.default_optimizer(today.config, total_steps, first_step))
    >>> tfrs_npa.warm_start(yesterday, today)

    Args:
        source: A trained model.
        target: The model whose weights are replaced. Its catalogue has been adapted, or is
            `source.catalog.with_news(...)`.
        follow_titles: Whether words move with the titles. Not if they started from pretrained
            vectors.

    Raises:
        ValueError: if the models differ in the shape of a layer, the tokenizer, the class of the
            optimizer, or the buckets of users. Nothing changes then.
    """
    words = target.catalog.require_vocabulary().words
    rows = {
        "word_table": source.catalog.require_vocabulary().index(words),
        "user_table": source.user_embedding.known(target.users.indices_in(source.users)).numpy(),
    }
    tokenizers = [model.catalog.require_vocabulary().tokenizer for model in (source, target)]
    if tokenizers[0] != tokenizers[1]:
        raise ValueError(
            "the words of the models are those of the tokenizers {} and {}: they cannot be "
            "matched".format(*tokenizers)
        )
    if _shapes(source) != _shapes(target):
        raise ValueError(
            "a warm start cannot change the shapes of layers: start from the configuration of the "
            "first model, of which rates, dropout, batch size and schedule may change, and give "
            "articles vectors of the same length, or none if they had none"
        )
    variables = [(source.trainable_weights, target.trainable_weights)]
    if source.optimizer is not None and target.optimizer is not None:
        if type(source.optimizer) is not type(target.optimizer):
            raise ValueError(
                f"the optimizer was {type(source.optimizer).__name__} and is now "
                f"{type(target.optimizer).__name__}: its state cannot be copied"
            )
        for model in (source, target):
            model.optimizer.build(model.trainable_variables)
        variables.append((source.optimizer.variables, target.optimizer.variables))
    for old, new in variables:
        copy_variables(old, new, rows)
    if follow_titles and target.config.word_initializer == "titles":
        _follow_titles(source, target, rows["word_table"])


def _follow_titles(source, target, rows):
    """Moves the words of `target` as the word vectors of the titles have moved."""
    before, now = (
        _aligned_title_vectors(
            model.catalog, chosen, source.candidate_tower.word_table.numpy()[chosen]
        )
        for model, chosen in ((source, np.arange(len(source.catalog.vocabulary))), (target, rows))
    )
    known = rows > UNKNOWN_WORD
    table = target.candidate_tower.word_table
    moved = table.numpy()
    moved[known] += now[known] - before[rows[known]]
    is_new = (rows == UNKNOWN_WORD) & (np.arange(len(rows)) != UNKNOWN_WORD)
    moved[is_new] = now[is_new]
    table.assign(moved)


def _aligned_title_vectors(catalog, rows, table):
    """Returns the word vectors of the titles, turned and scaled to lie as the rows of a word table.

    The axes of both are arbitrary, so that only a rotation can compare them: the orthogonal
    Procrustes problem (Schönemann, 1966), as for word vectors of different times by Hamilton et
    al., ACL 2016, section 3.3.

    Args:
        catalog: The articles.
        rows: `[words]`; words whose row is special do not count.
        table: `[words, dim]`.
    """
    vectors = catalog.title_vectors(table.shape[1]).astype(np.float64)
    counts = np.where(rows > UNKNOWN_WORD, catalog.word_counts(), 0)[:, np.newaxis]
    left, values, right = np.linalg.svd((vectors * counts).T @ table)
    scale = values.sum() / max((vectors**2 * counts).sum(), np.finfo(float).tiny)
    return (scale * vectors @ (left @ right)).astype(np.float32)


def _shapes(model):
    """Returns the shapes of the weights, without the rows of the two tables."""
    tables = (id(model.candidate_tower.word_table), id(model.user_embedding.table))
    return [tuple(weight.shape)[id(weight) in tables :] for weight in model.trainable_weights]
