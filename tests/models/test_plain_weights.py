"""Weights that would read other files of this machine."""

from __future__ import annotations

import h5py
import pytest

from tests.runs.test_run import make_model
from tfrs_npa.models.plain_weights import require_plain_weights
from tfrs_npa.runs.checkpoint import load_checkpoint

pytestmark = [
    pytest.mark.usefixtures("eager_functions"),
    pytest.mark.filterwarnings("ignore:Even though the .tf.config"),
]


@pytest.fixture
def model():
    return make_model()


def external_storage(file, secret):
    file.create_dataset("secret", (6,), "u1", external=[(str(secret), 0, 6)])


def external_link(file, secret):
    file["secret"] = h5py.ExternalLink(str(secret), "/")


def soft_link(file, secret):
    file["secret"] = h5py.SoftLink("/layers")


def virtual(file, secret):
    layout = h5py.VirtualLayout((6,), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "data", (6,))
    file.create_virtual_dataset("secret", layout)


@pytest.mark.parametrize("add", [external_storage, external_link, soft_link, virtual])
def test_no_other_file_is_read(model, tmp_path, add):
    """One from elsewhere could name any file that the process may read."""
    secret, path = tmp_path / "secret.txt", tmp_path / "last.weights.h5"
    secret.write_text("secret")
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        add(file, secret)
    loads = (
        require_plain_weights,
        model.load_weights,
        lambda path: load_checkpoint(path, model),
    )
    for load in loads:
        with pytest.raises(ValueError, match="which is refused"):
            load(path)


def test_groups_that_hold_themselves(model, tmp_path):
    path = tmp_path / "last.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        file["again"] = file["/"]
    require_plain_weights(path)
    model.load_weights(path)
