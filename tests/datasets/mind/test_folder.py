"""Finding the splits of a folder."""

import pytest

from tfrs_npa.datasets.mind.errors import MindFileError
from tfrs_npa.datasets.mind.folder import find_splits


def make(root, *names, files=("news.tsv", "behaviors.tsv")):
    for name in names:
        (root / name).mkdir(parents=True)
        for file in files:
            (root / name / file).write_text("made up")


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "valid", "test"),
        ("train", "dev", "test"),
        ("MINDsmall_train", "MINDsmall_dev", "MINDsmall_test"),
        ("MINDlarge_train", "MINDlarge_valid", "MINDlarge_test"),
    ],
)
def test_names_of_splits(tmp_path, train, validation, test):
    make(tmp_path, train, validation, "utils")
    expected = {"train": tmp_path / train, "validation": tmp_path / validation}
    assert find_splits(tmp_path) == expected
    make(tmp_path, test)
    assert find_splits(str(tmp_path)) == {**expected, "test": tmp_path / test}


def test_missing_folder(tmp_path):
    with pytest.raises(MindFileError, match="nowhere: no such folder; expected train/"):
        find_splits(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no train split among no folders; expected train/, valid/ or dev/"),
        (["train"], "no validation split among train/; expected train/"),
        (["dev", "other"], "no train split among dev/, other/"),
        (["train", "valid", "dev"], "dev/ and valid/ could all be validation"),
        (["MINDsmall_train", "MINDlarge_train", "dev"], "could all be train"),
    ],
)
def test_missing_and_ambiguous_splits(tmp_path, names, message):
    make(tmp_path, *names)
    with pytest.raises(MindFileError, match=message):
        find_splits(tmp_path)


@pytest.mark.parametrize("file", ["news.tsv", "behaviors.tsv"])
def test_missing_file(tmp_path, file):
    make(tmp_path, "train")
    make(tmp_path, "dev", files={"news.tsv", "behaviors.tsv"} - {file})
    with pytest.raises(MindFileError, match=f"dev/{file}: no such file; expected train/.*{file}"):
        find_splits(tmp_path)
