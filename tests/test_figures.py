from __future__ import annotations

import warnings

import numpy as np

from tfrs_npa._figures import new_figure, pixels, save_figure


def test_a_figure_as_a_file_and_as_pixels(tmp_path):
    """Letters that the font lacks, in titles of any language, give no warning."""
    figure = new_figure(2, 1)
    figure.text(0.5, 0.5, "新聞")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "new" / "figure.png")
        drawn = pixels(figure)
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert drawn.shape == (100, 200, 4) and drawn.dtype == np.uint8
    assert drawn[0, 0].tolist() == [255] * 4 and drawn.min() == 0
