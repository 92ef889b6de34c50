"""The data of a search, read once for all its trials."""

from __future__ import annotations

from tfrs_npa.data.cache import Cache
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.mind import load_mind
from tfrs_npa.data.parts import Parts, read_parts
from tfrs_npa.data.word_vectors import WordVectors
from tfrs_npa.search.settings import SearchSettings


def read_data(settings: SearchSettings, cache: Cache | None = None) -> tuple[NewsCatalog, Parts]:
    """Reads articles and impressions.

    Of the parts, trials train on `train`, `val_auc` is measured on `stopping`, and the winner is
    reported on `report`, which no trial sees.

    Args:
        settings: of the search.
        cache: where preprocessed data is kept.

    Returns:
        The articles of all splits, and the parts.

    Raises:
        ValueError: if anything about the files or the settings is not as it should be.
    """
    vectors = WordVectors.read(settings.word_vectors, settings.word_list)
    data = load_mind(settings.data, settings.data_dir, settings.manual_dir, cache)
    catalog = data.add_articles(NewsCatalog(vectors).adapt(data.titles("train")))
    return catalog, read_parts(data, catalog, settings.holdout)
