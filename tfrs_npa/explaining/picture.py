"""A report as a picture: the same articles as each reader sees them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tfrs_npa.explaining.page import pieces
from tfrs_npa.explaining.report import Candidate, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg

# Inches.
_WIDTH, _LINE, _MARGIN = 6.5, 0.26, 0.2
_SHADE = (1.0, 0.69, 0.0)
_SOFT = "#55585e"
_FONT_SIZE = 10  # points


def draw(report: Report, path: str | os.PathLike[str]) -> None:
    """Draws what readers are compared on, or else the best articles of the only one, as PNG.

    Args:
        report: The report.
        path: The file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = [reader.compared or reader.best for reader in report.readers]
    lines = 1 + max((2 * len(candidates) for candidates in columns), default=0)
    height = 2 * _MARGIN + _LINE * (lines + 1)
    figure = Figure(figsize=(_WIDTH * len(columns), height))
    renderer = FigureCanvasAgg(figure).get_renderer()
    for number, (reader, candidates) in enumerate(zip(report.readers, columns)):
        axes = figure.add_axes((number / len(columns), 0, 1 / len(columns), 1))
        axes.set_axis_off()
        axes.set_xlim(0, _WIDTH)
        axes.set_ylim(height, 0)
        name = reader.user_id or "an anonymous reader"
        axes.text(_MARGIN, _MARGIN + _LINE, name, weight="bold", size=12, parse_math=False)
        for row, candidate in enumerate(candidates):
            y = _MARGIN + _LINE * (2 * row + 2.4)
            _draw_title(axes, renderer, candidate, y)
            rank = f"no. {candidate.rank:,}" if candidate.rank else "clicked"
            facts = f"{rank}, score {candidate.score:+.2f}"
            axes.text(_MARGIN, y + 0.75 * _LINE, facts, size=8, color=_SOFT)
    figure.savefig(path, dpi=150, format="png")


def _draw_title(axes: Axes, renderer: RendererAgg, candidate: Candidate, y: float) -> None:
    """Draws a title with its words shaded; what does not fit is left out."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(size=_FONT_SIZE)

    def width(text: str) -> float:
        return renderer.get_text_width_height_descent(text, font, ismath=False)[0]

    x = _MARGIN
    for piece in pieces(candidate.article):
        # Between two letters, since blanks at either end do not count.
        end = x + (width(f"x{piece.text}x") - width("xx")) / axes.figure.dpi
        fits = end <= _WIDTH - _MARGIN
        box = None
        if piece.word is not None and fits:
            box = {"boxstyle": "square,pad=0.1", "lw": 0, "fc": (*_SHADE, 0.75 * piece.shade)}
        text = piece.text if fits else "…"
        axes.text(x, y, text, fontproperties=font, parse_math=False, bbox=box)
        if not fits:
            return
        x = end
