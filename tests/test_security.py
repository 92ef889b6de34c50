"""Claims of SECURITY.md that no other test is about."""

from __future__ import annotations

import pathlib
import re
import zipfile

import numpy as np
import pytest

import tfrs_npa
from tfrs_npa.data.users import UserIndex
from tfrs_npa.datasets.mind.archives import Archive
from tfrs_npa.datasets.mind.errors import MindFileError

ROOT = pathlib.Path(__file__).parents[1]


class Program:
    """What runs a program when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self._path,)


def read_word_vectors(path, folder):
    (folder / "words.txt").write_text("rain\n")
    tfrs_npa.WordVectors.from_npy(path, folder / "words.txt")


def read_article_vectors(path, folder):
    (folder / "ids.txt").write_text("N1\n")
    tfrs_npa.ArticleVectors.load(path, folder / "ids.txt")


def read_vectors_of_a_catalogue(path, folder):
    news = {"news_id": ["N1"], "title": ["rain"]}
    tfrs_npa.NewsCatalog().adapt(news).save(folder)
    path.rename(folder / "article_vectors.npy")
    tfrs_npa.NewsCatalog.load(folder)


def read_users(path, folder):
    np.savez(folder / "users.npz", buckets=8, seen=np.load(path, allow_pickle=True))
    (folder / "run").unlink()
    UserIndex.load(folder / "users.npz")


def read_recommenders_weights(path, folder):
    np.savez(folder / "npa.npz", np.load(path, allow_pickle=True))
    (folder / "run").unlink()
    news = {"news_id": ["N1"], "title": ["rain"]}
    config = tfrs_npa.NPAConfig.preset("recommenders").replace(num_filters=2, attention_dim=2)
    users = UserIndex().adapt({"user_id": ["U1"]})
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), users)
    tfrs_npa.load_recommenders_weights(model, folder / "npa.npz")


@pytest.mark.parametrize(
    "read",
    [
        read_word_vectors,
        read_article_vectors,
        read_vectors_of_a_catalogue,
        read_users,
        read_recommenders_weights,
    ],
)
def test_no_pickle_is_read(read, tmp_path):
    """NumPy's files may hold pickles, which are programs."""
    path = tmp_path / "array.npy"
    np.save(path, np.array([[Program(tmp_path / "run")]], object), allow_pickle=True)
    with pytest.raises(ValueError):
        read(path, tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("read", [tfrs_npa.NPAConfig.from_yaml, tfrs_npa.SearchSpace.from_yaml])
def test_no_yaml_is_run(read, tmp_path):
    (tmp_path / "a.yaml").write_text(
        f"title_length: !!python/object/apply:os.mkdir [{tmp_path}/run]"
    )
    with pytest.raises(ValueError, match="a.yaml"):
        read(tmp_path / "a.yaml")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["../{}", "../../{}", "/{}", "a/../../{}", "C:\\{}", "{}"])
def test_zips_are_read_and_never_extracted(name, tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "MINDsmall_train.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for table in ("news.tsv", "behaviors.tsv"):
            archive.writestr(name.format(table), "N1\n")
    try:
        with Archive(path).open("news") as file:
            assert file.read() == b"N1\n"
    except MindFileError:
        pass
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_the_tests_that_are_named_exist():
    page = (ROOT / "SECURITY.md").read_text("utf-8")
    named = re.findall(r"`(tests/\S+?\.py)(?:::(\w+))?`", page)
    assert len(named) > 10
    for file, test in named:
        assert not test or f"\ndef {test}(" in (ROOT / file).read_text("utf-8"), f"{file}::{test}"
