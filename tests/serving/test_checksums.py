"""Checksums of an export: what is noticed before anything else is read."""

from __future__ import annotations

import pytest

from tfrs_npa.serving.checksums import (
    CHECKSUMS,
    DamagedExportError,
    load_saved_model,
    reading,
    write_checksums,
)

VALUES = "variables/variables.data-00000-of-00001"


@pytest.fixture
def version(tmp_path):
    """A folder like that of an export."""
    for name in ("saved_model.pb", VALUES, CHECKSUMS.with_name("export.json").as_posix()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    write_checksums(tmp_path)
    return tmp_path


def test_what_was_written_is_read(version):
    write_checksums(version)  # again, beside those that are there
    with reading(version):
        pass


def test_what_is_not_what_was_written(version):
    content = bytearray((version / "saved_model.pb").read_bytes())
    content[3] ^= 1
    (version / "saved_model.pb").write_bytes(content)
    with pytest.raises(DamagedExportError, match="is damaged: the content of saved_model.pb is"):
        load_saved_model(version)
    (version / "saved_model.pb").unlink()
    with pytest.raises(DamagedExportError, match="is damaged: saved_model.pb is missing; restore"):
        load_saved_model(version)


def test_values_of_variables_are_compared_by_size(version):
    """TensorFlow compares their content when it reads them."""
    (version / VALUES).write_text(f"CONTENT of {VALUES}")
    with reading(version):
        pass
    (version / VALUES).write_text("less")
    with pytest.raises(DamagedExportError, match="variables.data-00000-of-00001 is not what was"):
        load_saved_model(version)


def test_errors_of_tensorflow_name_the_export(version):
    (version / CHECKSUMS).unlink()  # as in exports of earlier versions
    with pytest.raises(DamagedExportError, match=rf"{version} is damaged: ") as caught:
        load_saved_model(version)
    assert len(str(caught.value)) < 500 + len(str(version))


def test_what_may_not_be_read_is_not_called_damaged(version):
    with pytest.raises(PermissionError), reading(version):
        raise PermissionError
