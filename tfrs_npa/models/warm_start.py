"""A model that continues from another one, with the words and users of a later day."""

from __future__ import annotations

from tfrs_npa.models.npa import NPA
from tfrs_npa.optimizers import copy_variables


def warm_start(source: NPA, target: NPA) -> None:
    """Gives a model the weights of another one, which has other words and users.

    Words and users are matched by their strings. One that `source` does not have starts as its
    unknown word or user. If both models are compiled, the state of the optimizer is copied too: the
    number of steps, and the moments, which for new rows are those of the unknown one.

    >>> today = tfrs_npa.NPA(yesterday.config, catalog, users)
    >>> first_step = int(yesterday.optimizer.iterations)
    >>> today.compile(tfrs_npa.default_optimizer(today.config, total_steps, first_step))
    >>> tfrs_npa.warm_start(yesterday, today)

    Args:
        source: A trained model.
        target: The model whose weights are replaced.

    Raises:
        ValueError: if the models differ in the shape of a layer, or in the class of the optimizer.
            Nothing changes then.
    """
    words, users = target.catalog.require_vocabulary().words, target.users.ids
    rows = {
        "word_table": source.catalog.require_vocabulary().index(words),
        "user_table": source.user_embedding.known(source.users.index(users)).numpy(),
    }
    if _shapes(source) != _shapes(target):
        raise ValueError(
            "a warm start cannot change the shapes of layers: start from the configuration of the "
            "first model, of which rates, dropout, batch size and schedule may change"
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


def _shapes(model):
    """Returns the shapes of the weights, without the rows of the two tables."""
    tables = (id(model.candidate_tower.word_table), id(model.user_embedding.table))
    return [tuple(weight.shape)[id(weight) in tables :] for weight in model.trainable_weights]
