"""Blocks of titles, and how many of them have their words in memory."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_npa.models import encoded_titles
from tfrs_npa.models.encoded_titles import EncodedTitles


@pytest.mark.parametrize("names", [("values", "keys"), ("values", "keys", "projected")])
@pytest.mark.parametrize("words", [1, 9, 17, 10**6])
def test_slabs_are_as_large_as_memory_allows(words, names, make_world, monkeypatch):
    """Blocks whose words are held together; those of a single title are held anyway."""
    monkeypatch.setattr(encoded_titles, "_LEAST", 1)
    encoding = make_world(user_interest="mean").model.title_encoding
    titles = EncodedTitles(encoding, words * encoding.word_size(names))
    titles.names = names
    lengths = encoding.encoder.title_lengths()[titles._articles]
    assert np.ptp(lengths) > 1
    slabs: dict[int, set[int]] = {}
    for block in titles.blocks(np.repeat(np.arange(titles.number), 3)):
        slabs.setdefault(block.slab, set()).update(block.titles.tolist())
    assert np.concatenate([sorted(slab) for slab in slabs.values()]).tolist() == list(
        range(titles.number)
    )
    for slab in slabs.values():
        held = lengths[sorted(slab)].sum()
        assert held <= words or len(slab) == 1
        following = max(slab) + 1
        assert following == titles.number or held + lengths[following] > words
