"""HDF5 files that hold their data themselves."""

from __future__ import annotations

import os


def require_own_data(path: str | os.PathLike[str]) -> None:
    """Makes sure that an HDF5 file holds its data itself.

    HDF5 lets a file have parts in other files. One from elsewhere could pull in any file that this
    process may read.

    Args:
        path: The file.

    Raises:
        ValueError: if it refers to another file.
        OSError: if it is no HDF5 file, or is damaged.
    """
    import h5py

    with h5py.File(path, "r") as file:
        seen, groups = set(), [file]
        while groups:
            group = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{path}: {group.name}/{name} is a link, which is refused")
                item = group[name]
                if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                    raise ValueError(f"{path}: {item.name} is in another file, which is refused")
                if isinstance(item, h5py.Group):
                    address = h5py.h5o.get_info(item.id).addr
                    groups += [] if address in seen else [item]
                    seen.add(address)
