"""The exact best articles of a user, from titles that are encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from tfrs_npa.layers.packed import selected
from tfrs_npa.models.news_encoder import NewsEncoder, joined
from tfrs_npa.models.npa import NPA
from tfrs_npa.models.title_blocks import TitleBlocks
from tfrs_npa.models.user_encoder import UserEncoder
from tfrs_npa.retrieval.coming_articles import ComingArticles
from tfrs_npa.retrieval.top_k import ArticleTopK, best, best_of_rounded, without_gradients
from tfrs_npa.settings import DEFAULT_K, DTYPES

# Memory for articles to come, as a share of those that are there, of an index that is refreshed.
_SPARE = 0.25


class PersonalizedTopK(ArticleTopK):
    """Top K articles of a catalogue by NPA's score, a `tfrs.layers.factorized_top_k.TopK`.

    In NPA the vector of an article depends on the user, which stock `BruteForce` and `ScaNN` cannot
    express. But nothing expensive does: this layer holds the contextual words of every
    title and their keys, and scores them for a batch of users by matrix products. The result is
    that of the towers, for all articles, sorted.

    A call takes `4 * batch * num_articles` bytes for the scores; give many users in batches.

    Example:
        >>> index = PersonalizedTopK(model, k=2).index()
        >>> scores, ids = index({"user_id": ["U1"], "history": [["N1", "N2"]]})
        >>> index.refresh({"news_id": ["N9"], "title": ["Rain again"]}, withdraw=["N3"])
        >>> scores, ids = index.query_with_exclusions(
        ...     {"user_id": ["U1"], "history": [["N1", "N2"]]}, exclusions=[["N4", "N9"]]
        ... )

    As `candidates` of `tfrs.metrics.FactorizedTopK` it gives the recall in the whole catalogue. The
    metric multiplies two embeddings before it asks the index, so it gets what `query_embeddings`
    returns; and always ids, which decide:

        >>> metric = tfrs.metrics.FactorizedTopK(candidates=index, ks=(10, 100))
        >>> embeddings = index.query_embeddings({"user_id": user_id, "history": history})
        >>> metric.update_state(
        ...     embeddings, tf.zeros_like(embeddings), true_candidate_ids=clicked_ids
        ... )
        >>> recall_at_10, recall_at_100 = metric.result()

    Args:
        model: A trained model. Its catalogue grows by the articles that the layer is given.
        k: Number of articles to return, unless a call says otherwise.
        dtype: How the words are kept; answers are the same. `"float32"`: every article is scored
            by its words. `"bfloat16"`: about half the memory. Every article is scored by words
            that are rounded to 8 significant bits; those that may be among the best in spite of
            that, as `RoundingBounds` say, are encoded again and scored
            exactly. That are few for a small k, and all of them where k is the number of articles.
        name: Name of the layer.

    Raises:
        ValueError: if k is less than 1, or `dtype` is another one.
    """

    def __init__(
        self, model: NPA, k: int = DEFAULT_K, dtype: str = "float32", name: str | None = None
    ):
        super().__init__(model, k, name)
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; it has to be one of {', '.join(DTYPES)}.")
        blocks = TitleBlocks(model.candidate_tower, dtype, spare=_SPARE)
        self._untracked.blocks = blocks
        self._untracked.width = blocks.width
        strings = tf.TensorSpec([None, None], tf.string)
        self._untracked.best = tf.function(
            without_gradients(self._best),
            input_signature=[
                tf.TensorSpec([None, self._untracked.width], tf.float32),
                tf.TensorSpec([], tf.int32),
                strings,
                strings,
                tf.TensorSpec([], tf.bool),
            ],
            autograph=False,
        )

    def is_exact(self) -> bool:
        """True: scores are those of the towers."""
        return True

    @property
    def bytes_per_article(self) -> float:
        """Bytes that the encoded titles, and the room for more, take for each article."""
        with self.unchanged():
            return self._untracked.blocks.size / max(1, self.num_articles)

    @property
    def resources(self) -> tf.Module:
        """Everything that its graph reads, see `ArticleTopK.resources`."""
        return self._resources(blocks=self._untracked.blocks)

    def refresh(self, news=None, withdraw: Iterable[str] = ()) -> PersonalizedTopK:
        """Adds and withdraws articles; what stays is not encoded again.

        The result is that of indexing the articles that are then there. Withdrawn articles stay in
        the model's catalogue, since histories still hold them. Threads may ask while it runs, as
        during `index`: they get answers of before or of after.

        The first refresh that adds articles moves the others to where there is room for a quarter
        more. So do later ones if that is used up, a quarter would be of withdrawn ones, or blocks
        of titles would be too many: the titles take more than twice their memory then. Otherwise
        nothing is moved.

        Args:
            news: Articles to add, as `index_from_dataset` takes them, which the model's catalogue
                learns too; None: none. Those that are there stay as they are.
            withdraw: Ids of articles to take out, before others are added.

        Returns:
            The layer itself.

        Raises:
            ValueError: if nothing is indexed yet, the model has got another catalogue since, an
                article to withdraw is not indexed, or as `index_from_dataset`. Nothing changes
                then.
        """
        with self._changing():
            return self._refresh(news, list(withdraw))

    def _refresh(self, news, withdraw):
        self._require_index()
        own = self._untracked
        if not own.articles.knows(own.model.catalog):
            raise ValueError(
                "The model has another catalogue than what is indexed: call `index` or "
                "`index_from_dataset`."
            )
        leaving = own.model.catalog.index(withdraw)
        missing = [id for id, there in zip(withdraw, np.isin(leaving, own.indices)) if not there]
        if missing:
            raise ValueError(
                f"{len(missing):,} of the articles to withdraw are not indexed, such as "
                f"{missing[0]!r}."
            )
        staying = np.setdiff1d(own.indices, leaving)
        coming = ComingArticles(own.model, news)
        indices = np.union1d(staying, coming.indices).astype(np.int64)
        return self._index(coming, indices, from_scratch=False)

    def query_embeddings(self, queries) -> tf.Tensor:
        """Returns users as the index represents them.

        It can be given in place of `queries` to `call` and `query_with_exclusions`, and to
        `tfrs.metrics.FactorizedTopK`; see the class.

        Args:
            queries: A dict as in `call`.

        Returns:
            `[batch, width]` float32: the user's vectors as `UserEncoder.flat` gives them, then the
            query of the attention over words, `PersonalizedAttention.folded_query`:
            `user_embedding_dim` and one, or `attention_dim` numbers if that is less (`num_filters`
            in the `paper` form), none where word weights depend on no user. With
            `user_interest="mean"` and these left aside, the score of an article is the product with
            what the candidate tower returns.

        Raises:
            ValueError: as `call`.
        """
        with self.unchanged():
            self._require_index()
            return self._untracked.embed(*self._features(queries))

    def _encode(self, indices, tables, from_scratch):
        return self._untracked.blocks.prepare(indices, None, from_scratch, tables)

    def _user_vectors(self, users, history, further_titles):
        """Does so from the titles that are held, which need not be encoded again."""
        model, blocks = self._untracked.model, self._untracked.blocks
        encoder, tower = model.candidate_tower, model.query_tower
        # Another class may make something else of a history, and a rounded title is another one.
        if blocks.is_rounded or type(encoder) is not NewsEncoder or type(tower) is not UserEncoder:
            return super()._user_vectors(users, history, further_titles)
        clicks, embedding = tower.clicks(history), model.user_embedding(users)
        distinct, clicked = tf.unique(clicks.news_id)
        places = self._untracked.articles.places(distinct)
        is_held = places >= 0
        held = blocks.features(selected(places, is_held), encoder.compute_dtype)
        others = encoder.title_features(selected(distinct, ~is_held), False, further_titles)
        features = joined([held, blocks.encoding.folded(others)])
        titles = tf.where(
            is_held,
            tf.cumsum(tf.cast(is_held, tf.int32)) - 1,
            tf.size(held.lengths) + tf.cumsum(tf.cast(~is_held, tf.int32)) - 1,
        )
        query = blocks.encoding.query(embedding)
        clicked = tf.gather(titles, clicked)
        return tower.encode(clicks, features, clicked, embedding, word_query=query)["output"]

    def _answer(self, queries, k, exclusions, candidates, exclude_history):
        k, history = self._checked_k(k, self.num_articles), None
        if isinstance(queries, Mapping):
            user_id, history, titles = self._features(queries)
            users = self._untracked.embed(user_id, history, titles)
        else:
            users = self._embeddings(queries)
            if exclude_history:
                raise ValueError("Embeddings hold no history to exclude; give user_id and history.")
        filters = self._filters(
            users.shape[0], exclusions, candidates, history if exclude_history else None
        )
        return self._untracked.best(users, k, *filters)

    def _embeddings(self, queries):
        width = self._untracked.width
        expected = (
            f"queries have to be a dict of user_id and history, or embeddings [batch, {width}]"
        )
        try:
            users = tf.convert_to_tensor(queries, tf.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{expected}; found {type(queries).__name__}.") from error
        if users.shape.rank != 2 or users.shape[1] not in (width, None):
            raise ValueError(f"{expected}; found {users.shape}.")
        return users

    def _best(self, users, k, excluded, allowed, only_allowed):
        articles, blocks = self._untracked.articles, self._untracked.blocks
        hidden = articles.mask(excluded) | (only_allowed & ~articles.mask(allowed))
        ids = articles.ids.read_value()
        if not blocks.is_rounded:
            return best(blocks.scores(users), hidden, ids, k)

        def exact_scores(places, titles, rows):
            indices = tf.gather(articles.indices, places)
            return blocks.exact_scores(places, indices, titles, rows, users)

        rounded, bounds = blocks.rounded_scores(users)
        return best_of_rounded(rounded, bounds, hidden, ids, k, exact_scores)
