"""HDF5 files that would have this process read other files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import tfrs_npa
from tfrs_npa._hdf5 import require_own_data
from tfrs_npa.runs.checkpoint import load_checkpoint


def external_storage(file, secret):
    file.create_dataset("secret", (6,), "u1", external=[(str(secret), 0, 6)])


def external_link(file, secret):
    file["group/secret"] = h5py.ExternalLink(str(secret), "/")


def soft_link(file, secret):
    file["secret"] = h5py.SoftLink("/group")


def virtual(file, secret):
    layout = h5py.VirtualLayout((6,), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "data", (6,))
    file["group"].create_virtual_dataset("secret", layout)


@pytest.fixture
def path(tmp_path):
    """A file with a group that holds itself, which is no harm."""
    with h5py.File(tmp_path / "npa.h5", "w") as file:
        file["group/numbers"] = np.arange(6)
        file["group/again"] = file["group"]
    return tmp_path / "npa.h5"


def test_its_own_data(path):
    """Is accepted; the file stays as it is, and is closed: else it could not be written to."""
    before = path.read_bytes()
    require_own_data(path)
    assert path.read_bytes() == before
    with h5py.File(path, "r+") as file:
        np.testing.assert_array_equal(file["group/again/numbers"], np.arange(6))


@pytest.mark.parametrize("add", [external_storage, external_link, soft_link, virtual])
def test_no_other_file_is_read(path, add):
    (path.parent / "secret.txt").write_text("secret")
    with h5py.File(path, "r+") as file:
        add(file, path.parent / "secret.txt")
    with pytest.raises(ValueError, match="npa.h5: /?.*secret is .*, which is refused"):
        require_own_data(path)
    news = {"news_id": ["N1"], "title": ["rain"]}
    users = tfrs_npa.UserIndex().adapt({"user_id": ["U1"]})
    sizes = dict.fromkeys(("word_embedding_dim", "num_filters", "attention_dim"), 4)
    config = tfrs_npa.NPAConfig.preset("recommenders").replace(**sizes)
    model = tfrs_npa.NPA(config, tfrs_npa.NewsCatalog().adapt(news), users)
    with pytest.raises(ValueError, match="which is refused"):
        tfrs_npa.load_recommenders_weights(model, path)
    with pytest.raises(ValueError, match="which is refused"):
        load_checkpoint(path, model)
    for name in (path, path.with_suffix(".hdf5")):
        path = path.rename(name)
        with pytest.raises(ValueError, match="which is refused"):
            model.load_weights(path)
