"""The run that a training starts from."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrs_npa.data.catalog import FIRST_ARTICLE, NewsCatalog
from tfrs_npa.data.splits import Inherited
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.data.vocabulary import Vocabulary
from tfrs_npa.models.npa import NPA
from tfrs_npa.models.warm_start import warm_start
from tfrs_npa.runs.run import Run


class Source:
    """The best model of a run, and what its data had.

    Args:
        run: The run.

    Attributes:
        settings: Those of the run.
        model: The model, with the state of its optimizer.
        last_seen: When its words, articles and users were last seen.
    """

    def __init__(self, run: Run):
        self._path = run.path
        self.settings = run.settings
        self.model = run.load_model(with_optimizer=True)
        self.last_seen = run.last_seen(self.model)

    @property
    def first_step(self) -> int:
        """The steps that the optimizer has taken."""
        return int(self.model.optimizer.iterations)

    def inherited(self, trainings: int | None) -> Inherited:
        """Returns the words, articles and users that one of the last trainings saw.

        Args:
            trainings: How many of them to look at, this run's included; None: all.
        """
        recent = self.last_seen.recent(trainings)
        kept = {name: np.flatnonzero(is_recent) for name, is_recent in recent.items()}
        catalog, vocabulary = self.model.catalog, self.model.catalog.require_vocabulary()
        words = [vocabulary.words[index] for index in kept["words"]][len(Vocabulary.specials) :]
        own = NewsCatalog(vocabulary=Vocabulary.from_words(words, vocabulary.tokenizer))
        own.article_vectors = catalog.article_vectors
        articles = kept["articles"][kept["articles"] >= FIRST_ARTICLE]
        if len(articles):
            columns = {"news_id": catalog.ids, "title": catalog.titles}
            own.extend({name: [all_[row] for row in articles] for name, all_ in columns.items()})
        users = self.model.users.empty().extend_from(self.model.users, kept["users"])
        return Inherited(own, users)

    def give_to(self, model: NPA) -> dict[str, Any]:
        """Gives a model its weights, and returns what `Run.warm_start` is to say."""
        follow_titles = self.settings.word_vectors is None
        warm_start(self.model, model, follow_titles)
        return {
            "from": str(self._path.absolute()),
            "first_step": self.first_step,
            "added": _missing(model, self.model),
            "dropped": _missing(self.model, model),
        }


def _missing(model: NPA, other: NPA) -> dict[str, int]:
    """Counts the words, articles and users of a model that another one does not have."""
    words, others = (set(each.catalog.require_vocabulary().words) for each in (model, other))
    unknown = model.users.indices_in(other.users) == UNKNOWN_USER
    return {
        "words": len(words - others),
        "articles": len(set(model.catalog.ids) - set(other.catalog.ids)),
        "users": int(np.count_nonzero(model.users.known & unknown)),
    }
