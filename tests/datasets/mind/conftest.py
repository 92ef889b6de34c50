"""What tests of the synthetic world share."""

import pytest

from tfrs_npa.datasets.mind import SyntheticWorld


@pytest.fixture(scope="session")
def small_world():
    """A world that is made in a fraction of a second; not to be changed."""
    return SyntheticWorld(seed=1, users=600, articles=3000, impressions=(1500, 400, 400))
