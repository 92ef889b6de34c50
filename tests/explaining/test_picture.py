from __future__ import annotations

import numpy as np
from matplotlib import image

from tfrs_npa.explaining.picture import draw


def shaded(pixels):
    """Where a picture is the colour of words, `[height, width]`."""
    red, blue = pixels[:, :, 0], pixels[:, :, 2]
    return (red > 0.9) & (blue < 0.5)


def test_a_column_for_each_reader(make_report, tmp_path):
    path = tmp_path / "report.png"
    draw(make_report(titles=("Rain in the north $x_1$", "Wins " * 40)), path)
    pixels = image.imread(path)
    assert pixels.shape[1] == 2 * 975
    for half in np.split(pixels, 2, axis=1):
        assert shaded(half).sum() > 1000
    # A title that is too long ends inside its column.
    assert not shaded(pixels)[:, 950:975].any()
