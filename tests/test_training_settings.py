import pytest

from tfrs_npa.settings import TrainingSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 0; the least is 1"),
        ({"patience": 0}, "patience is 0; the least is 1"),
        ({"word_list": "w.txt"}, "word list"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings("mind/small", **values)
