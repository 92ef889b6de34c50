"""Exports, after damage."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import shutil

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_npa
from tfrs_npa.explaining.explainer import Explainer
from tfrs_npa.serving import module
from tfrs_npa.serving.checksums import CHECKSUMS
from tfrs_npa.serving.versions import DESCRIPTION

CAMPAIGN = settings.get_profile("campaign")
NEWS = {"news_id": ["A1"], "title": ["rain wins"]}
# Loading one takes seconds, so that far fewer are loaded than are refreshed.
LOADED = max(2, CAMPAIGN.max_examples // 20)


def small_model(seed):
    config = tfrs_npa.NPAConfig(
        title_length=4,
        history_length=3,
        word_embedding_dim=5,
        user_embedding_dim=3,
        num_filters=8,
        attention_dim=6,
    )
    catalog = tfrs_npa.NewsCatalog().adapt({"news_id": ["N1", "N2"], "title": ["rain", "sun wins"]})
    tf.keras.utils.set_random_seed(seed)
    return tfrs_npa.NPA(config, catalog, tfrs_npa.UserIndex().adapt({"user_id": ["U1"]}))


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Two exports, of other weights."""
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        names = ("score", "recommend", "explain")
        patch.setattr(module, "_SIGNATURES", {name: module._SIGNATURES[name] for name in names})
        return [tfrs_npa.export(small_model(i), folder / f"{i}").parent for i in range(2)]


@pytest.fixture(scope="module")
def files(exports):
    version = exports[0] / "1"
    return sorted(path.relative_to(version) for path in version.rglob("*") if path.is_file())


def damaged(exports, file, content, to):
    """Copies the first export, with another content of one of its files; None: without it."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(exports[0], to)
    if content is None:
        (to / "1" / file).unlink()
    else:
        (to / "1" / file).write_bytes(content)
    return to


def refreshed(folder):
    """Refreshes an export; what there was stays, whether that succeeds or not."""
    before = {path: path.read_bytes() for path in (folder / "1").rglob("*") if path.is_file()}
    try:
        tfrs_npa.refresh_export(folder, NEWS)
    finally:
        after = {path: path.read_bytes() for path in (folder / "1").rglob("*") if path.is_file()}
        assert after == before
        assert {path.name for path in folder.iterdir()} <= {"1", "2"}


def is_read(file):
    """Whether a refresh or a comparison of checksums notices what is in a file."""
    return ".data-00000" not in file.name and file != CHECKSUMS


@CAMPAIGN
@given(st.data())
def test_refresh(exports, files, tmp_path_factory, attempt, data):
    file = data.draw(st.sampled_from(files))
    content = bytearray((exports[0] / "1" / file).read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "grow", "text", "other", "gone"]))
    if kind == "flip":
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    elif kind == "grow":
        content += data.draw(st.binary(min_size=1, max_size=9))
    elif kind == "text":
        content = data.draw(st.sampled_from([b"", b"hello\n", b"{}", b"[1]", b'{"files": 3}']))
    elif kind == "other":
        content = (exports[1] / "1" / file).read_bytes()
    is_same = bytes(content) == (exports[0] / "1" / file).read_bytes()
    content = None if kind == "gone" else bytes(content)
    folder = damaged(exports, file, content, tmp_path_factory.getbasetemp() / "damaged")
    message = attempt(lambda: refreshed(folder), folder / "1")
    if is_read(file) and not (kind == "other" and is_same):
        assert message is not None, (file, kind)


@pytest.mark.parametrize("index", range(LOADED))
def test_explain(exports, files, tmp_path, attempt, index):
    file = files[index % len(files)]
    content = (exports[0] / "1" / file).read_bytes()
    folder = damaged(exports, file, content[: len(content) // 2], tmp_path / "damaged")
    message = attempt(lambda: Explainer.of_export(folder), folder / "1")
    # An index that has lost its second half says so itself.
    assert message is not None, file


@pytest.mark.parametrize(
    "text",
    ["", "nothing", "{}", "[]", '{"files": []}', '{"files": {"a": 1}}', '{"files": {"a": [1, 2]}}'],
)
def test_checksums(exports, tmp_path, attempt, text):
    folder = damaged(exports, CHECKSUMS, text.encode(), tmp_path / "damaged")
    assert attempt(lambda: refreshed(folder), folder / "1") is not None


@pytest.mark.parametrize(
    "value",
    [None, 3, [], "text", {}, {"format": 99}, {"format": None}, {"format": 2}, {"format": [2]}],
)
def test_descriptions_without_checksums(exports, tmp_path, attempt, value):
    """As those of earlier versions."""
    folder = damaged(exports, CHECKSUMS, None, tmp_path / "damaged")
    (folder / "1" / DESCRIPTION).write_text(json.dumps(value))
    assert attempt(lambda: refreshed(folder), folder / "1") is not None


@pytest.mark.parametrize("name", ["config", "users", "articles", "vector_dim", "dtype"])
@pytest.mark.parametrize("value", [None, -1, 10**9, "text", [1], {"a": 1}])
def test_fields_of_descriptions_without_checksums(exports, tmp_path, attempt, name, value):
    folder = damaged(exports, CHECKSUMS, None, tmp_path / "damaged")
    description = json.loads((folder / "1" / DESCRIPTION).read_text())
    (folder / "1" / DESCRIPTION).write_text(json.dumps(description | {name: value}))
    attempt(lambda: refreshed(folder), folder / "1")


def test_an_export_without_checksums_is_refreshed(exports, tmp_path):
    """Those of earlier versions have none; the next has them."""
    folder = damaged(exports, CHECKSUMS, None, tmp_path / "damaged")
    version = tfrs_npa.refresh_export(folder, NEWS)
    assert (version / CHECKSUMS).is_file()
    assert tfrs_npa.refresh_export(folder, withdraw=["N1"]).name == "3"
    os.truncate(version.parent / "3" / "saved_model.pb", 10)
    with pytest.raises(ValueError, match=r"3 is damaged: the content of saved_model.pb is not"):
        tfrs_npa.refresh_export(folder, withdraw=["N2"])


def test_folders_and_links_in_the_place_of_files(exports, files, tmp_path, attempt):
    for file in files:
        for replace in (pathlib.Path.mkdir, lambda path: path.symlink_to("/nowhere")):
            folder = damaged(exports, file, None, tmp_path / "damaged")
            replace(folder / "1" / file)
            refresh = functools.partial(tfrs_npa.refresh_export, folder, NEWS)
            message = attempt(refresh, folder / "1")
            assert message is not None or file == CHECKSUMS
