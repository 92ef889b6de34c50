"""The base of the top-K layers of NPA: strings in, article ids and scores out."""

from __future__ import annotations

import abc
import contextlib
import functools
import itertools
import operator
import threading
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_npa.data.catalog import FIRST_ARTICLE
from tfrs_npa.layers.personalized_attention import MASKED_LOGIT
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.models.distributed_model import check_is_npa
from tfrs_npa.models.npa import NPA
from tfrs_npa.models.title_encoding import TitleEncoding
from tfrs_npa.models.traced import Traced
from tfrs_npa.retrieval.coming_articles import ComingArticles
from tfrs_npa.retrieval.indexed_articles import IndexedArticles
from tfrs_npa.retrieval.requests import string_matrix, string_vector

# Articles that are scored again at a time.
_CHUNK = 512
# Ops of TensorFlow are not safe for threads until they have seen the types of their arguments, see
# `models/ahead.py`: the first answer of a layer is made by one thread.
_FIRST_ANSWER = threading.RLock()


class ArticleTopK(tfrs.layers.factorized_top_k.TopK):
    """Top K articles by NPA's score. Use `PersonalizedTopK` or `TwoStageTopK`.

    Threads may ask while another one indexes: see `index`.

    Args:
        model: A trained model.
        k: Number of articles to return, unless a call says otherwise.
        name: Name of the layer.
    """

    # Describes the largest k in error messages.
    _limit = "the number of indexed articles"

    def __init__(self, model: NPA, k: int, name: str | None = None):
        check_is_npa(model, type(self).__name__)
        super().__init__(k=k, name=name, dtype="float32", autocast=False)
        if k < 1:
            raise ValueError(f"k is {k}; it has to be at least 1.")
        self._untracked = Untracked(
            model=model,
            articles=IndexedArticles(),
            indices=None,
            has_answered=False,
            embed=Traced(
                without_gradients(self._embed),
                [
                    tf.TensorSpec([None], tf.string),
                    tf.TensorSpec([None, None], tf.string),
                    tf.TensorSpec([None, None], tf.string),
                ],
                model.user_embedding,
            ),
        )

    @property
    def num_articles(self) -> int:
        """How many articles are indexed."""
        return 0 if self._untracked.indices is None else len(self._untracked.indices)

    def index(self) -> ArticleTopK:
        """Indexes the model's catalogue, without padding and the unknown article.

        Every title is encoded again: call it whenever the weights have changed.

        Threads may ask meanwhile: each answer is that of the old index or of the new one, and none
        waits for more than milliseconds. Titles are encoded first, beside those that are there,
        which takes twice their memory; then all that answers depend on is replaced at once. If
        encoding fails, nothing changes.

        This holds for all top-K layers of a model together, and for calls outside of a
        `tf.function`: no lock keeps what a graph reads from being replaced while it runs. It does
        not hold for new weights, for `NPA.set_catalog`, or for saving the layer.

        Returns:
            The layer itself.

        Raises:
            ValueError: if the model's catalogue was extended meanwhile, other than by
                `NPA.add_articles` and the top-K layers of the model.
        """
        with self._changing():
            coming = ComingArticles(self._untracked.model)
            # Padding and the unknown article are never recommended.
            return self._index(coming, np.arange(FIRST_ARTICLE, len(coming.ids)))

    def index_from_dataset(self, news) -> ArticleTopK:
        """Indexes exactly these articles; those missing from the model's catalogue are added to it.

        Args:
            news: A `tf.data.Dataset` (batched or not) or iterable of dicts, or a dict of columns,
                with the string features `news_id` and `title`. An article that the catalogue has
                keeps the title that it has there.

        Returns:
            The layer itself.

        Raises:
            ValueError: if a feature is missing or not a string, an id is empty or reserved, there
                are no articles, or as `index`. Nothing changes then.
        """
        with self._changing():
            coming = ComingArticles(self._untracked.model, news)
            indices = np.unique(coming.indices)
            if not len(indices):
                raise ValueError("news holds no articles.")
            return self._index(coming, indices)

    def _index(self, coming, indices, from_scratch=True):
        """Indexes some of the articles that are there and of those to come.

        Args:
            coming: `ComingArticles`.
            indices: `[indexed]` the articles to index, ascending.
            from_scratch: Whether to encode all of them again.
        """
        own = self._untracked
        swaps = [
            self._encode(indices, coming.tables, from_scratch),
            coming.swap,
            own.articles.prepare(own.model.catalog, coming.ids, indices),
        ]
        coming.add()
        with own.model.candidate_tower.articles_lock.swapping():
            for swap in swaps:
                swap()
            own.indices = indices
        return self

    @abc.abstractmethod
    def _encode(self, indices, tables, from_scratch) -> Callable[[], None]:
        """Encodes articles; returns a function that replaces those of before by them, in no time.

        Args:
            indices: As in `_index`.
            tables: What there will be of all articles, see `NewsEncoder.tables_of`.
            from_scratch: As in `_index`.
        """

    def _changing(self) -> contextlib.AbstractContextManager[None]:
        """A context in which no other thread indexes articles or adds some to the model."""
        return self._untracked.model.candidate_tower.articles_lock.changing()

    def unchanged(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which other threads cannot change the index, for several calls.

        Threads that index wait for its end, and others that ask wait for them. In a graph, it does
        nothing.
        """
        if not tf.executing_eagerly():
            return contextlib.nullcontext()
        return self._untracked.model.candidate_tower.articles_lock.reading()

    def call(self, queries, k=None, candidates=None, exclude_history=False):
        """Returns the best articles of each user.

        Args:
            queries: A dict of `user_id` `[batch]`, strings, and `history`, the ids of the articles
                that each user clicked, oldest first: `[batch, clicks]` with `""` as padding, or
                ragged. The latest `history_length` of the configuration count. Users who are not
                known are welcome, and so are users without clicks. Articles that are not known
                count fully if `history_titles`, of the shape of `history`, has their titles, and
                else as `config.unknown_articles` says. Other entries are left out. Tensors, arrays
                and lists will do.
            k: Articles to return, a number or a scalar tensor; None: that of the layer.
            candidates: Ids of the only articles to choose from: `[candidates]` for all users, or
                `[batch, candidates]` for each of them, with `""` as padding or ragged. Ids that
                are not indexed are passed over. None: all articles.
            exclude_history: Whether to leave out the articles of `history`. Like the stock layers,
                this one keeps them unless it is told.

        Returns:
            Scores, float32 `[batch, k]`, descending, and article ids, strings `[batch, k]`. Where
            scores are equal, the article that is earlier in the catalogue comes first. Where fewer
            than k articles are left, the last places have the score -1e9 and the id `""`.

        Raises:
            ValueError: if nothing is indexed, k is not between 1 and the number of indexed
                articles, or an entry of `queries` is missing or of a wrong shape. In a graph, a
                wrong k is a `tf.errors.InvalidArgumentError`.
        """
        with self._answering():
            return self._answer(queries, k, None, candidates, exclude_history)

    def query_with_exclusions(
        self, queries, exclusions, k=None, candidates=None, exclude_history=False
    ):
        """Returns the best articles of each user, without some of them.

        Args:
            queries: As in `call`.
            exclusions: Ids of articles that must not come back: `[batch, exclusions]` of any width,
                with `""` as padding, or ragged. Ids that are not indexed are passed over.
            k: As in `call`.
            candidates: As in `call`.
            exclude_history: As in `call`.

        Returns:
            As `call`. An excluded article never comes back, however few are left.

        Raises:
            ValueError: as `call`, and if `exclusions` is of a wrong shape.
        """
        with self._answering():
            return self._answer(queries, k, exclusions, candidates, exclude_history)

    @contextlib.contextmanager
    def _answering(self):
        """A context of an answer, in which other threads answer too if it is not the first."""
        with self.unchanged():
            if self._untracked.has_answered or not tf.executing_eagerly():
                yield
                return
            with _FIRST_ANSWER:
                yield
            self._untracked.has_answered = True

    @abc.abstractmethod
    def _answer(self, queries, k, exclusions, candidates, exclude_history):
        """Answers `call` and `query_with_exclusions`."""

    @property
    @abc.abstractmethod
    def resources(self) -> tf.Module:
        """Everything that its graph reads, including the weights of the model.

        A `tf.Module` that calls this layer and is saved as a SavedModel has to have them as an
        attribute.
        """

    def _resources(self, **others) -> tf.Module:
        """Returns what all of these layers read, and others, as attributes of a module."""
        model, module = self._untracked.model, tf.Module()
        module.articles, module.users = self._untracked.articles, model.users.table
        module.tables, module.weights = model.candidate_tower.article_tables, list(model.weights)
        module.words = model.catalog.require_vocabulary().table
        for name, value in others.items():
            setattr(module, name, value)
        return module

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        """Returns what a SavedModel has: a call by ids, and not what Keras makes of layers."""
        if save_type != "savedmodel":
            return super()._trackable_children(save_type, **kwargs)
        self._require_index()
        strings, number = tf.TensorSpec([None, None], tf.string), tf.TensorSpec([], tf.int32)
        queries = {
            "user_id": tf.TensorSpec([None], tf.string, "user_id"),
            "history": tf.TensorSpec([None, None], tf.string, "history"),
        }
        titles = {"history_titles": tf.TensorSpec([None, None], tf.string, "history_titles")}
        methods = {
            "__call__": (lambda queries, k=None: self.call(queries, k), []),
            "query_with_exclusions": (
                lambda queries, exclusions, k=None: self.query_with_exclusions(
                    queries, exclusions, k
                ),
                [strings],
            ),
        }
        children = {"resources": self.resources}
        for name, (method, inputs) in methods.items():
            children[name] = tf.function(method, autograph=False)
            for query, k in itertools.product([queries, queries | titles], [[], [number]]):
                children[name].get_concrete_function(query, *inputs, *k)

        @tf.function(autograph=False)
        def signature(queries):
            scores, news_id = self.call(queries)
            return {"news_id": news_id, "scores": scores}

        children["_default_save_signature"] = signature.get_concrete_function(queries)
        return children

    def _features(self, queries):
        """Returns user ids `[batch]`, padded histories and titles `[batch, clicks]`, strings."""
        if not isinstance(queries, Mapping):
            raise ValueError(
                f"queries have to be a dict of user_id and history; found {type(queries).__name__}."
            )
        missing = [name for name in ("user_id", "history") if name not in queries]
        if missing:
            found = ", ".join(map(repr, queries)) or "nothing"
            raise ValueError(f"queries lack {' and '.join(map(repr, missing))}; they have {found}.")
        user_id = string_vector(queries["user_id"], "user_id")
        history = string_matrix(queries["history"], "history", user_id.shape[0])
        if "history_titles" not in queries:
            return user_id, history, tf.zeros_like(history)
        titles = string_matrix(queries["history_titles"], "history_titles", user_id.shape[0])
        if not titles.shape.is_compatible_with(history.shape):
            raise ValueError(
                f"history_titles has the shape {titles.shape}, history {history.shape}: each click "
                'needs a title, or ""'
            )
        return user_id, history, titles

    def _embed(self, user_id, history, history_titles):
        """Returns user vectors, and the queries of the attention over words, side by side."""
        model = self._untracked.model
        users = model.users.table.lookup(user_id)
        # The model may have got articles since it was indexed.
        articles = tf.shape(model.candidate_tower.tokens)[0]
        clicks, titles = self._untracked.articles.lookup_with_titles(
            history, history_titles, articles
        )
        history, titles = model.query_tower.histories(clicks), model.title_tokens(titles)
        parts = [model.query_tower.flat(self._user_vectors(users, history, titles))]
        query = TitleEncoding(model.candidate_tower).query(model.user_embedding(users))
        if query is not None:
            parts.append(query)
        return tf.cast(tf.concat(parts, axis=1), tf.float32)

    def _user_vectors(self, users, history, further_titles):
        """Returns what the query tower makes of users; see `UserEncoder`."""
        return self._untracked.model.query_tower(
            {"user_id": users, "history": history, "further_titles": further_titles}
        )

    def _filters(self, rows, exclusions, candidates, history):
        """Returns two string matrices, exclusions and candidates, and whether there are candidates.

        Args:
            rows: Users of the call, or None where a graph does not know.
            exclusions: As given to `query_with_exclusions`, or None.
            candidates: As given to `call`, or None.
            history: `[batch, clicks]` strings to exclude too, or None.
        """
        nothing = tf.zeros([1, 0], tf.string)
        excluded = [] if history is None else [history]
        if exclusions is not None:
            excluded.append(string_matrix(exclusions, "exclusions", rows))
        allowed = nothing
        if candidates is not None:
            allowed = string_matrix(candidates, "candidates", rows, or_one_for_all=True)
        excluded = tf.concat(excluded, axis=1) if excluded else nothing
        return excluded, allowed, candidates is not None

    def _require_index(self):
        if self._untracked.indices is None:
            raise ValueError("Nothing is indexed: call `index` or `index_from_dataset` first.")

    def _checked_k(self, k, most):
        """Returns k as a scalar tensor; checks it where its value is known."""
        self._require_index()
        k = self._k if k is None else k
        if not tf.is_symbolic_tensor(k):
            k = operator.index(k)
            if not 1 <= k <= most:
                raise ValueError(f"k is {k:,}; it has to be between 1 and {most:,}, {self._limit}.")
        return tf.cast(k, tf.int32)


def without_gradients(function):
    """Returns a function to be traced without custom gradients, which a SavedModel lacks.

    Loading would warn that they are missing.
    """

    @functools.wraps(function)
    def traced(*args):
        if tf.executing_eagerly():
            return function(*args)
        graph = tf.compat.v1.get_default_graph()
        graph.gradient_override_map = lambda _: contextlib.nullcontext()
        return function(*args)

    return traced


def best(scores, hidden, ids, k):
    """Returns the k best scores and their ids.

    Args:
        scores: `[batch, articles]` float32; of equal ones, the first is better.
        hidden: `[batch, articles]` booleans, or `[1, articles]`: what must not come back.
        ids: `[articles]` or `[batch, articles]` strings.
        k: A scalar.

    Returns:
        Two `[batch, k]`; -1e9 and `""` where nothing is left.
    """
    k = _checked(k, tf.shape(scores)[1])
    values, places = tf.math.top_k(tf.where(hidden, MASKED_LOGIT, scores), k)
    chosen = tf.gather(ids, places, batch_dims=ids.shape.rank - 1)
    return values, tf.where(values > MASKED_LOGIT, chosen, "")


def best_of_rounded(scores, bounds, hidden, ids, k, exact_scores):
    """Returns the k best exact scores and their ids, given rounded ones.

    What cannot be among the k best is not scored again: its score and bound together are less than
    the k-th largest of scores less their bounds.

    Args:
        scores: `[batch, articles]` float32, rounded.
        bounds: `[batch, articles]` what they differ from exact ones by at most.
        hidden: As in `best`.
        ids: `[articles]` strings.
        k: A scalar.
        exact_scores: Scores pairs of articles and users: a function of `[n]` articles, ascending;
            `[pairs]` which of these; and `[pairs]` rows of `scores`, ascending.

    Returns:
        Two `[batch, k]`, as `best`.
    """
    k = _checked(k, tf.shape(scores)[1])
    lower = tf.where(hidden, MASKED_LOGIT, scores - bounds)
    least = tf.math.top_k(lower, k)[0][:, -1:]
    remains = ~hidden & (scores + bounds >= least)
    # There is always something to score.
    some = tf.reduce_any(remains, axis=0) | tf.one_hot(0, tf.shape(scores)[1], True, False)
    articles = tf.cast(tf.where(some)[:, 0], tf.int32)

    def score(chunk, results):
        part = articles[chunk * _CHUNK : (chunk + 1) * _CHUNK]
        pairs = tf.where(tf.gather(remains, part, axis=1))
        rows, titles = tf.unstack(tf.cast(pairs, tf.int32), num=2, axis=1)
        result = tf.fill([tf.size(part), tf.shape(scores)[0]], MASKED_LOGIT)
        found = exact_scores(part, titles, rows)
        result = tf.tensor_scatter_nd_update(result, tf.reverse(pairs, [1]), found)
        return chunk + 1, results.write(chunk, result)

    chunks = (tf.size(articles) + _CHUNK - 1) // _CHUNK
    results = tf.TensorArray(tf.float32, chunks, infer_shape=False, element_shape=[None, None])
    _, results = tf.while_loop(lambda chunk, _: chunk < chunks, score, (0, results))
    missing = tf.maximum(k - tf.size(articles), 0)
    exact = tf.pad(results.concat(), [[0, missing], [0, 0]], constant_values=MASKED_LOGIT)
    articles = tf.pad(articles, [[0, missing]])
    return best(tf.transpose(exact), tf.zeros([1, 1], tf.bool), tf.gather(ids, articles), k)


def _checked(k, number):
    """Returns k, a scalar, once it has been compared with the number of articles."""
    check = tf.debugging.Assert(
        (k >= 1) & (k <= number),
        ["k has to be between 1 and the number of articles to choose from; k:", k, "of:", number],
    )
    # In a graph, `top_k` would otherwise run at the same time, and fail first now and then.
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(k)
