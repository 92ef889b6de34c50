"""What a small log is converted to, whatever it is read from."""

import numpy as np
import pytest


def _assert_the_log(impressions):
    """The impressions 7, 3 and 7 of `test_impressions.py` and `test_arrow_tables.py`."""
    expected = {
        "impression_id": ([7, 3, 7], np.int64),
        "user_id": ([2, 0, 1], np.int32),
        "history_values": ([2, 4, 2, 3], np.int32),
        "history_splits": ([0, 3, 3, 4], np.int64),
        "candidate_values": ([3, 2, 4, 2, 3, 4], np.int32),
        "candidate_splits": ([0, 2, 3, 6], np.int64),
        "clicked": ([1, 0, 0, -1, -1, -1], np.int8),
    }
    for name, (values, dtype) in expected.items():
        array = getattr(impressions, name)
        assert array.dtype == dtype, name
        assert array.tolist() == values, name


@pytest.fixture(scope="session")
def assert_the_log():
    """Asserts that impressions are those of the log."""
    return _assert_the_log
