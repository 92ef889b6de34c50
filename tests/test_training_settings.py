import pytest

from tfrs_npa.training_settings import TrainingSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"holdout": "first-day"}, "one of auto, last-day, none"),
        ({"epochs": 0}, "epochs is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"word_vectors": "v.npy"}, "word list"),
        ({"word_vectors": "v.txt", "word_list": "w.txt"}, "word list"),
        ({"word_list": "w.txt"}, "word list"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings("mind/small", **values)


def test_good_values():
    with_list = TrainingSettings("mind/small", word_vectors="v.npy", word_list="w.txt")
    assert (with_list.word_vectors, with_list.word_list) == ("v.npy", "w.txt")
    text = TrainingSettings("mind/small", word_vectors="v.txt", holdout="none")
    assert (text.word_vectors, text.word_list, text.holdout) == ("v.txt", None, "none")
