"""Exports after damage, by what reads them: a refresh, `explain`, and a log that is scored."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrs_npa
from tfrs_npa.explaining.explainer import Explainer
from tfrs_npa.serving import module
from tfrs_npa.serving.checksums import check_sums
from tfrs_npa.serving.refresh import export_again, refresh_export
from tfrs_npa.serving.score_log import score_log

CAMPAIGN = settings.get_profile("campaign")
NPA = "assets.extra/npa"
DESCRIPTION, CHECKSUMS = f"{NPA}/export.json", f"{NPA}/checksums.json"
KEPT = "variables/variables.data-00000-of-00002"
TITLES = ["rain in the north", "team wins", "final vote", "bank rate", "sun and rain", ""]
CONFIG = tfrs_npa.NPAConfig(
    title_length=5,
    history_length=3,
    word_embedding_dim=4,
    user_embedding_dim=3,
    num_filters=6,
    attention_dim=4,
    background_titles=4,
)
SIZES = (
    "title_length",
    "history_length",
    "word_embedding_dim",
    "user_embedding_dim",
    "num_filters",
    "window_size",
    "attention_dim",
    "background_titles",
)
ABSURD = [None, True, -1, 0, 7, 1.5, 10**9, 10**30, float("nan"), "x", "x" * 10_000, [], [[]], {}]


def make_model(seed=3, **changes):
    news = {"news_id": [f"N{i}" for i in range(len(TITLES))], "title": TITLES}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1", "U2"]})
    model = tfrs_npa.NPA(CONFIG.replace(**changes), tfrs_npa.NewsCatalog().adapt(news), users)
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def some_signatures():
    """Tracing the others would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        names = ("score", "recommend", "explain", "score_titles")
        signatures = {name: module._SIGNATURES[name] for name in names}
        patch.setattr(module, "_SIGNATURES", signatures)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, some_signatures):
    """An export that was refreshed once: version 2 is read, version 1 is the last good one."""
    folder = tmp_path_factory.mktemp("whole") / "npa"
    tfrs_npa.export(make_model(), folder)
    refresh_export(folder, {"news_id": ["A1"], "title": ["north wins"]})
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory, some_signatures):
    """An export of a model with the same sizes and other weights, and one with other sizes."""
    folder = tmp_path_factory.mktemp("other")
    tfrs_npa.export(make_model(seed=4), folder / "weights")
    tfrs_npa.export(make_model(num_filters=9, user_embedding_dim=5), folder / "sizes")
    for name in ("weights", "sizes"):
        refresh_export(folder / name, {"news_id": ["B1"], "title": ["sun"]})
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy without links: damage of one version is not that of the other."""
    return pathlib.Path(shutil.copytree(whole, tmp_path / "npa"))


def refresh(folder):
    refresh_export(folder, {"news_id": ["A2"], "title": ["rain wins"]}, keep=1)


def forget(folder):
    export_again(make_model(seed=5), folder)


def explain(folder):
    explainer = Explainer.of_export(folder)
    assert np.isfinite(explainer.scores("U1", [["N1", "A1"]])).all()


def score(folder):
    log = folder.parent / "behaviors.tsv"
    log.write_text("1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0\n")
    score_log(folder, log, folder.parent / "prediction.txt")
    assert (folder.parent / "prediction.txt").is_file()


READERS = [refresh, forget, explain, score]


def state(folder):
    """All files that there are, apart from the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def refused(read, folder, name, attempt):
    """It is not read, the message names the file, and nothing is lost."""
    before = state(folder)
    message = attempt(lambda: read(folder), folder / "2" / name)
    assert message is not None and "export again" in message
    assert state(folder) == before
    return message


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_by_a_byte(path):
    path.write_bytes(path.read_bytes()[:-1])


def longer(path):
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path):
    content = bytearray(path.read_bytes() or b"\0")
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def replace_by_text(path):
    path.write_text("hello\n")


def replace_by_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def replace_by_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_a_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_a_link_to_nothing(path):
    path.unlink()
    path.symlink_to("nowhere")


def replace_by_a_link_to_zeros(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def replace_by_a_link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


def replace_by_a_link_to_another_file(path):
    path.unlink()
    path.symlink_to("/etc/hostname")


DAMAGE = [
    empty,
    cut,
    cut_by_a_byte,
    longer,
    flip,
    replace_by_text,
    replace_by_zeros,
    replace_by_a_pipe,
    replace_by_a_folder,
    replace_by_a_link_to_nothing,
    replace_by_a_link_to_zeros,
    replace_by_a_link_to_itself,
    replace_by_a_link_to_another_file,
    pathlib.Path.unlink,
]
# Of these a refresh notices nothing by the size alone.
SAME_SIZE = [flip, replace_by_zeros]
FILES = [
    "saved_model.pb",
    "variables/variables.index",
    KEPT,
    "variables/variables.data-00001-of-00002",
    f"{NPA}/kept.index",
    f"{NPA}/words/words.txt",
    f"{NPA}/words/tokenizer.txt",
    f"{NPA}/words/articles.jsonl",
]
# Without checksums, a flipped bit in a graph can be another graph: SECURITY.md.
COARSE = [cut, replace_by_text, replace_by_a_folder, pathlib.Path.unlink]


def test_these_are_all_files(whole):
    warm_up = "assets.extra/tf_serving_warmup_requests"
    found = {name for name in state(whole / "2") if name != warm_up}
    assert found == {*FILES, DESCRIPTION, CHECKSUMS}
    assert {*json.loads((whole / "2" / CHECKSUMS).read_text())["files"]} == {*FILES, DESCRIPTION}


@pytest.mark.slow
@pytest.mark.parametrize("read", READERS)
def test_what_is_whole(read, folder, attempt):
    assert attempt(lambda: read(folder), folder) is None


@pytest.mark.slow
def test_links_to_the_same_content(folder, tmp_path, attempt):
    for name in [*FILES, DESCRIPTION, CHECKSUMS]:
        target = tmp_path / name.replace("/", "-")
        (folder / "2" / name).rename(target)
        (folder / "2" / name).symlink_to(target)
    assert attempt(lambda: explain(folder), folder) is None
    assert attempt(lambda: refresh(folder), folder) is None
    assert attempt(lambda: explain(folder), folder) is None


def damaged_copies(whole, tmp_path, name, damages):
    """Yields copies of an export with damage in the last version, and the kind of damage."""
    for damage in damages:
        folder = pathlib.Path(shutil.copytree(whole, tmp_path / damage.__name__))
        damage(folder / "2" / name)
        if state(folder) != state(whole):  # a file may be empty
            yield folder, damage
        shutil.rmtree(folder)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", [*FILES, DESCRIPTION])
def test_damaged_files(read, name, whole, tmp_path, attempt):
    for folder, damage in damaged_copies(whole, tmp_path, name, DAMAGE):
        if name == KEPT and damage in SAME_SIZE and read in (refresh, forget):
            continue  # of this file it reads a little: see below
        if (
            name == DESCRIPTION
            and read in (refresh, forget)
            and not (folder / "2" / name).is_file()
        ):
            assert "export again" in attempt(functools.partial(read, folder), folder / "2")
            continue
        refused(read, folder, name, attempt)


@pytest.mark.parametrize("read", READERS)
def test_damaged_checksums(read, whole, tmp_path, attempt):
    for folder, damage in damaged_copies(whole, tmp_path, CHECKSUMS, DAMAGE):
        # Without the last line break it is the same, and there may be none at all.
        if damage not in (cut_by_a_byte, pathlib.Path.unlink):
            message = refused(read, folder, "", attempt)
            # A flipped bit in the name of a file: it is the file that misses.
            assert CHECKSUMS in message or "is missing" in message or "content" in message


@CAMPAIGN
@given(place=st.integers(0), bit=st.integers(0, 7))
def test_flipped_bits(place, bit, whole, tmp_path_factory, attempt):
    """Whichever file: before TensorFlow loads anything."""
    folder = pathlib.Path(shutil.copytree(whole, tmp_path_factory.mktemp("flipped") / "npa"))
    files = [folder / "2" / name for name in [*FILES, DESCRIPTION] if "articles" not in name]
    sizes = np.cumsum([file.stat().st_size for file in files])
    place %= int(sizes[-1])
    number = int(np.searchsorted(sizes, place, side="right"))
    content = bytearray(files[number].read_bytes())
    content[place - int(sizes[number])] ^= 1 << bit
    files[number].write_bytes(content)
    message = refused(explain, folder, files[number].relative_to(folder / "2"), attempt)
    assert "is damaged" in message or "another version" in message
    shutil.rmtree(folder.parent)


@pytest.mark.parametrize("tensor", ["articles/base/order", "articles/base/_words/values"])
def test_damage_of_what_a_refresh_keeps(tensor, folder, attempt):
    """It reads a little of it, which TensorFlow compares; the checksum stays with the rest."""
    file = folder / "2" / KEPT
    name = f"{tensor}/.ATTRIBUTES/VARIABLE_VALUE"
    written = tf.train.load_checkpoint(str(folder / "2" / "variables" / "variables"))
    value = written.get_tensor(name).tobytes()
    content = bytearray(file.read_bytes())
    for copy in re.finditer(re.escape(value), bytes(content)):  # there are two names
        content[copy.start()] ^= 1
    file.write_bytes(content)
    if tensor == "articles/base/order":
        refused(refresh, folder, "", attempt)
        return
    version = refresh_export(folder, {"news_id": ["A2"], "title": ["rain wins"]})
    assert "content" in attempt(lambda: explain(folder), version / KEPT)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["weights", "sizes"])
def test_files_of_another_export(read, kind, whole, other, tmp_path, attempt):
    for name in [*FILES, DESCRIPTION, CHECKSUMS]:

        def mix(path, name=name):
            shutil.copyfile(other / kind / "2" / name, path)

        for folder, _ in damaged_copies(whole, tmp_path, name, [mix]):
            same_size = (folder / "2" / KEPT).stat().st_size == (whole / "2" / KEPT).stat().st_size
            is_unread = name == KEPT and read in (refresh, forget) and same_size
            named = "" if name == CHECKSUMS or is_unread else name
            assert "is damaged" in refused(read, folder, named, attempt)


def without_checksums(folder):
    (folder / "2" / CHECKSUMS).unlink()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_without_checksums(read, name, whole, tmp_path, attempt):
    """As an export of before there were any: what cannot be read names the version."""
    if NPA in name and read in (explain, score):
        return  # they do not read it
    # A graph takes seconds to load before its variables miss.
    damages = COARSE[:1] if "variables" in name and read in (explain, score) else COARSE
    for folder, _ in damaged_copies(whole, tmp_path, name, damages):
        without_checksums(folder)
        before = state(folder)
        if attempt(functools.partial(read, folder), folder / "2"):
            assert state(folder) == before


@pytest.mark.slow
def test_absurd_descriptions(whole, tmp_path, attempt):
    """Of an export without checksums: nothing is made of a size before it is compared."""
    saved = json.loads((whole / "2" / DESCRIPTION).read_text())
    changes = [{name: value} for name in saved for value in ABSURD]
    changes += [{"config": saved["config"] | {name: value}} for name in SIZES for value in ABSURD]
    changes += [{"config": saved["config"] | {"num_filtres": 3}}]
    texts = [json.dumps(saved | change) for change in changes]
    texts += [json.dumps({k: v for k, v in saved.items() if k != name}) for name in saved]
    texts += ["[]", "3", "null", '"x"', "[" * 100_000, "{", "\0", '{"format": ' + "9" * 5000 + "}"]
    folder = without_checksums(pathlib.Path(shutil.copytree(whole, tmp_path / "npa")))
    before = state(folder)
    for text in texts:
        (folder / "2" / DESCRIPTION).write_text(text)
        if attempt(functools.partial(refresh, folder), folder / "2"):
            assert state(folder) == before | {f"2/{DESCRIPTION}": text.encode()}, text[:100]
        else:
            shutil.rmtree(folder)
            folder = without_checksums(pathlib.Path(shutil.copytree(whole, folder)))


@pytest.mark.parametrize("read", [refresh, forget])
def test_absurd_descriptions_of_an_earlier_format(read, folder, attempt):
    saved = json.loads((folder / "2" / DESCRIPTION).read_text()) | {"format": 1}
    before = state(without_checksums(folder))
    changes = [{name: value} for name in ("users", "vector_dim") for value in (-1, 10**9, "x")]
    for name in ("user_embedding_dim", "word_embedding_dim", "num_filters"):
        changes += [{"config": saved["config"] | {name: value}} for value in (-1, 9999, 10**9, "x")]
    for change in changes:
        text = json.dumps(saved | change)
        (folder / "2" / DESCRIPTION).write_text(text)
        assert attempt(functools.partial(read, folder), folder / "2")
        assert state(folder) == before | {f"2/{DESCRIPTION}": text.encode()}


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("key", ["format", "files", "a file", "bytes", "sha256"])
def test_absurd_checksums(key, value, folder, attempt):
    file = folder / "2" / CHECKSUMS
    saved = json.loads(file.read_text())
    if key in ("format", "files"):
        saved[key] = value
    elif key == "a file":
        saved["files"]["saved_model.pb"] = value
    else:
        saved["files"]["saved_model.pb"][key] = value
    file.write_text(json.dumps(saved))
    is_older = key == "format" and type(value) in (bool, int, float) and not value > 1
    if is_older or (key, value) == ("files", {}):
        assert attempt(lambda: check_sums(folder / "2"), folder) is None
    else:
        refused(explain, folder, "", attempt)


@pytest.mark.parametrize("format_", [3, 10**9])
def test_a_later_format(format_, folder, attempt):
    file = folder / "2" / DESCRIPTION
    file.write_text(file.read_text().replace('"format": 2', f'"format": {format_}'))
    for read in (refresh, forget):
        assert "another version" in refused(read, folder, "", attempt)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", ["3", "99999999999999999999", "\u0663"])
@pytest.mark.parametrize("kind", ["folder", "file", "link", "pipe"])
def test_versions_that_are_none(read, name, kind, folder, attempt):
    path, before = folder / name, state(folder)
    {
        "folder": path.mkdir,
        "file": lambda: path.write_text(""),
        "link": lambda: path.symlink_to("nowhere"),
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    assert attempt(lambda: read(folder), folder) is not None
    path.rmdir() if kind == "folder" else path.unlink()
    assert state(folder) == before


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["nothing", "file", "empty folder", "another model"])
def test_what_is_no_export(read, kind, tmp_path, attempt):
    path = tmp_path / "npa"
    if kind == "file":
        path.write_text("x")
    elif kind != "nothing":
        path.mkdir()
    if kind == "another model":
        tf.saved_model.save(tf.Module(), str(path / "1"))
    assert attempt(lambda: read(path), path) is not None
