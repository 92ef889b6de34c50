"""Figures of Matplotlib: colours, files and pixels. They need no display, and no pyplot."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tfrs_npa._files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Okabe and Ito (2008), told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#6e6e6e"
_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """Returns a `matplotlib.figure.Figure` whose parts make room for each other.

    Args:
        width: Its width in inches.
        height: Its height.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG, whole or not at all.

    Args:
        figure: The figure.
        path: The file.
    """
    with atomic_file(path) as temporary, _any_letters():
        figure.savefig(temporary, format="png", dpi=_DPI)


def pixels(figure: Figure) -> np.ndarray:
    """Draws a figure at its own resolution; returns uint8 `[height, width, 4]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with _any_letters():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())


@contextlib.contextmanager
def _any_letters() -> Iterator[None]:
    """Letters that the font lacks are drawn as boxes, without a warning for each of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield
