"""Numbers that graphs normally have as constants, and shared graphs as inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Numbers:
    """Numbers of a layer or an optimizer by which its graph differs in nothing but constants.

    So `tfrs_npa.models.shared_steps` can replace `values` by tensors while it traces a graph that
    serves other numbers too. Keras and SavedModels do not track them.

    Example:
        >>> numbers = Numbers(rate=0.5)
        >>> numbers["rate"]
        0.5

    Attributes:
        values: The numbers, or tensors in their place, by name.
    """

    def __init__(self, **values: float):
        self.values: Mapping[str, Any] = values

    def __getitem__(self, name: str) -> Any:
        return self.values[name]
