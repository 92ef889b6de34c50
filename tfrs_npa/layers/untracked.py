"""State hidden from Keras and SavedModels."""

from __future__ import annotations

import types


class Untracked(types.SimpleNamespace):
    """A namespace whose content neither Keras nor a SavedModel tracks.

    Keras and `tf.Module` track the attributes of layers and modules: what they find is counted
    among the weights, saved with them, and needed to load them again. Encoded titles, token tables
    and whole models that are merely referred to are kept in an attribute `_untracked` instead.

    Example:
        >>> self._untracked = Untracked(model=model, articles=None)
        >>> self._untracked.model
    """
