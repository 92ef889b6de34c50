"""Checksums of a version: what they find, and what they leave alone."""

from __future__ import annotations

import hashlib
import json

import pytest
import tensorflow as tf

from tfrs_npa.serving.checkpoint import KEPT_DATA
from tfrs_npa.serving.checksums import (
    CHECKSUMS,
    DamagedExportError,
    check_sums,
    naming_damage,
    sums_of,
    write_sums,
)

FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "assets/words/list": b"words",
    "assets.extra/npa/export.json": b"{}",
    "assets.extra/npa/words/articles.jsonl": b"",
}


@pytest.fixture
def version(tmp_path):
    for name, content in (FILES | {"assets.extra/warmup": b"x", "notes": b"y"}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write_sums(tmp_path, {})
    return tmp_path


def test_all_that_is_read_has_one(version):
    expected = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in FILES.items()
    }
    assert sums_of(version) == expected
    check_sums(version)


def test_others_may_change(version):
    (version / "assets.extra" / "warmup").write_bytes(b"of the user's own")
    (version / "notes").unlink()
    check_sums(version)


def test_of_before_there_were_any(version):
    (version / CHECKSUMS).unlink()
    (version / "saved_model.pb").unlink()
    assert sums_of(version) == {}
    check_sums(version)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"graqh", "its content is not"),
        (b"gra", "it has 3 bytes instead of 5"),
        (None, "it is missing"),
    ],
)
def test_damage(content, reason, version):
    file = version / "saved_model.pb"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(DamagedExportError, match=f"saved_model.pb is damaged: {reason}"):
        check_sums(version)


def test_of_an_unread_file_the_size_counts(version):
    file = version / "saved_model.pb"
    file.write_bytes(b"graqh")
    check_sums(version, unread=[file.relative_to(version)])
    file.write_bytes(b"gra")
    with pytest.raises(DamagedExportError, match="3 bytes instead of 5"):
        check_sums(version, unread=[file.relative_to(version)])


def test_what_is_known_stays(version):
    """A copy with shared files says of them what the first version did, damaged or not."""
    known = {"saved_model.pb": sums_of(version)["saved_model.pb"]}
    (version / "saved_model.pb").write_bytes(b"graqh")
    write_sums(version, known)
    with pytest.raises(DamagedExportError, match="its content is not"):
        check_sums(version)


def test_a_later_format(version):
    saved = json.loads((version / CHECKSUMS).read_text())
    (version / CHECKSUMS).write_text(json.dumps(saved | {"format": 2}))
    with pytest.raises(ValueError, match="is of format 2, of a later version") as caught:
        check_sums(version)
    assert "damaged" not in str(caught.value)


def test_earlier_versions_share_what_a_refresh_keeps(version):
    """Removing this version would not help."""
    for file, helps in ((KEPT_DATA, False), (CHECKSUMS, True)):
        error = DamagedExportError.of(version / file, "its content is not what was written there")
        assert ("remove this version" in str(error)) is helps


@pytest.mark.parametrize(
    "error", [OSError("no\nfile"), RuntimeError(), tf.errors.DataLossError(None, None, "x" * 5000)]
)
def test_what_tensorflow_raises(error, tmp_path):
    with pytest.raises(DamagedExportError) as caught, naming_damage(tmp_path):
        raise error
    message = str(caught.value)
    assert message.startswith(f"{tmp_path} is damaged: ") and "\n" not in message
    assert len(message) - len(str(tmp_path)) < 500


@pytest.mark.parametrize(
    "error", [PermissionError("mine"), tf.errors.ResourceExhaustedError(None, None, "memory")]
)
def test_what_is_no_damage(error, tmp_path):
    with pytest.raises(type(error)), naming_damage(tmp_path):
        raise error
