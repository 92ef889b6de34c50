"""The signatures of a SavedModel that TensorFlow alone can serve: strings in, strings out."""

from __future__ import annotations

import tensorflow as tf

from tfrs_npa.data.catalog import PADDING
from tfrs_npa.data.users import UNKNOWN_USER
from tfrs_npa.layers.packed import selected
from tfrs_npa.layers.personalized_attention import MASKED_LOGIT
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.models.explanation import explain, placed
from tfrs_npa.models.npa import NPA
from tfrs_npa.retrieval.top_k import best, best_of_rounded, without_gradients
from tfrs_npa.serving.served_articles import ServedArticles
from tfrs_npa.settings import DTYPES

_IDS = tf.TensorSpec([None], tf.string)
_LISTS = tf.TensorSpec([None, None], tf.string)
_NUMBER = tf.TensorSpec([], tf.int32)

# Methods of the module that become signatures, and their arguments.
_SIGNATURES = {
    "score": (_IDS, _LISTS, _LISTS),
    "score_with_titles": (_IDS, _LISTS, _LISTS, _LISTS, _LISTS),
    "score_titles": (_IDS, _LISTS, _LISTS),
    "recommend": (_IDS, _LISTS, _NUMBER, _LISTS, _LISTS),
    "recommend_with_titles": (_IDS, _LISTS, _LISTS, _NUMBER, _LISTS, _LISTS),
    "encode": (_IDS, _LISTS),
    "encode_articles": (_IDS, _LISTS),
    "explain": (_IDS, _LISTS, _LISTS),
}


class ServingModule(tf.Module):
    """What `tfrs_npa.export` saves: weights, users, articles and their encoded titles.

    Its methods are the signatures of the SavedModel, whose inputs and outputs have the names of
    arguments and results. A list is a row of a dense matrix, with `""` as padding on either side;
    a width of 0 will do. Of a history, oldest click first, the last `history_length` articles are
    read. Users that the model does not know are the unknown user. Articles that it does not know
    count fully where the request brings their titles; for the others, see
    `NPAConfig.unknown_articles`.

    It has no articles until `articles.start` has been called. No layer and no model of Keras is
    part of it, so it loads where TensorFlow is all there is.

    Args:
        model: The model. Its weights are shared, its titles are encoded here.
        dtype: `"float32"` or `"bfloat16"`, how encoded titles are kept.

    Attributes:
        articles: `ServedArticles`.

    Raises:
        ValueError: if `dtype` is another one.
    """

    def __init__(self, model: NPA, dtype: str = "float32"):
        super().__init__(name="npa")
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; it has to be one of {', '.join(DTYPES)}")
        # If the SavedModel tracked the model, loading it would need Keras.
        self._untracked = Untracked(model=model)
        # The variables and tables of the signatures have to be found in attributes.
        self._weights = list(model.weights)
        self._tables = [model.users.table, model.catalog.require_vocabulary().table]
        self.articles = ServedArticles(model.candidate_tower, dtype)
        # Traced once for all signatures that need it.
        self._untracked.users = _concrete(self._users, (_IDS, _LISTS, _LISTS))

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Returns the signatures by name; `serving_default` is `score`."""
        functions = {
            name: _concrete(getattr(self, name), inputs) for name, inputs in _SIGNATURES.items()
        }
        return {"serving_default": functions["score"], **functions}

    def score(self, user_id, history, candidates):
        """Scores articles.

        Args:
            user_id: `[batch]` ids of users.
            history: `[batch, history]` ids of clicked articles.
            candidates: `[batch, candidates]` ids of articles.

        Returns:
            `scores`: `[batch, candidates]` float32, -1e9 at padding.
        """
        user_id, history, candidates = _checked(user_id, history=history, candidates=candidates)
        return self._score(user_id, history, _untitled(history), candidates, _untitled(candidates))

    def score_with_titles(self, user_id, history, history_titles, candidates, candidate_titles):
        """Scores articles, those that are not known by their titles.

        Args:
            user_id: `[batch]` ids of users.
            history: `[batch, history]` ids of clicked articles.
            history_titles: `[batch, history]` titles in UTF-8 of those that are not known, or `""`;
                those of known articles do not count.
            candidates: `[batch, candidates]` ids of articles.
            candidate_titles: `[batch, candidates]` titles, as those of the history.

        Returns:
            `scores`: `[batch, candidates]` float32, -1e9 at padding.
        """
        user_id, history, history_titles, candidates, candidate_titles = _checked(
            user_id,
            history=history,
            history_titles=history_titles,
            candidates=candidates,
            candidate_titles=candidate_titles,
        )
        history_titles = _beside(history, history_titles, "history")
        candidate_titles = _beside(candidates, candidate_titles, "candidate")
        return self._score(user_id, history, history_titles, candidates, candidate_titles)

    def _score(self, user_id, history, history_titles, candidates, candidate_titles):
        model = self._untracked.model
        indices, titles = self.articles.lookup_with_titles(candidates, candidate_titles)
        slots = tf.where(candidates != "")
        features, articles = self._features(tf.gather_nd(indices, slots), titles)
        users, query = self._untracked.users(user_id, history, history_titles)
        scores = self._scores(users, query, features, articles, slots, tf.shape(candidates))
        return {"scores": model.with_unknown_articles(scores, indices)}

    def score_titles(self, user_id, history, titles):
        """Scores arbitrary titles.

        Args:
            user_id: `[batch]` ids of users.
            history: `[batch, history]` ids of clicked articles.
            titles: `[batch, candidates]` titles in UTF-8; words with blanks between them if the
                catalogue was given titles as lists of words.

        Returns:
            `scores`: `[batch, candidates]` float32, -1e9 at padding.
        """
        user_id, history, titles = _checked(user_id, history=history, titles=titles)
        slots = tf.where(titles != "")
        distinct, articles = tf.unique(tf.gather_nd(titles, slots))
        users, query = self._untracked.users(user_id, history, _untitled(history))
        features = self._encoded(distinct)
        return {"scores": self._scores(users, query, features, articles, slots, tf.shape(titles))}

    def recommend(self, user_id, history, k, exclusions, candidates):
        """Ranks articles; of equal scores, the one that is earlier in the catalogue comes first.

        Args:
            user_id: `[batch]` ids of users.
            history: `[batch, history]` ids of clicked articles, which are not left out.
            k: Articles to return, between 1 and the number of those that may be recommended.
            exclusions: `[batch, exclusions]` ids of articles to leave out.
            candidates: `[batch, candidates]` ids of the only articles to choose from, among those
                that may be recommended; a row without any: all of these.

        Returns:
            `news_id`: `[batch, k]` ids of articles, `""` where fewer than k are left.
            `scores`: `[batch, k]` float32, -1e9 there.
        """
        user_id, history, exclusions, candidates = _checked(
            user_id, history=history, exclusions=exclusions, candidates=candidates
        )
        return self._recommend(user_id, history, _untitled(history), k, exclusions, candidates)

    def recommend_with_titles(self, user_id, history, history_titles, k, exclusions, candidates):
        """Ranks articles as `recommend`; clicked articles that are not known have titles.

        Args:
            user_id: As in `recommend`.
            history: As in `recommend`.
            history_titles: `[batch, history]` titles in UTF-8 of clicked articles that are not
                known, or `""`; those of known articles do not count.
            k: As in `recommend`.
            exclusions: As in `recommend`.
            candidates: As in `recommend`.

        Returns:
            As `recommend`.
        """
        user_id, history, history_titles, exclusions, candidates = _checked(
            user_id,
            history=history,
            history_titles=history_titles,
            exclusions=exclusions,
            candidates=candidates,
        )
        history_titles = _beside(history, history_titles, "history")
        return self._recommend(user_id, history, history_titles, k, exclusions, candidates)

    def _recommend(self, user_id, history, history_titles, k, exclusions, candidates):
        users, query = self._untracked.users(user_id, history, history_titles)
        users = self._untracked.model.query_tower.flat(users)
        if query is not None:
            users = tf.concat([users, query], axis=1)
        users = tf.cast(users, tf.float32)
        has_candidates = tf.reduce_any(candidates != "", axis=1, keepdims=True)
        indexed = self.articles.indexed
        hidden = indexed.mask(exclusions) | (has_candidates & ~indexed.mask(candidates))
        ids = indexed.ids.read_value()
        if self.articles.is_rounded:
            rounded, bounds = self.articles.rounded_scores(users)
            exact_scores = self._exact_scores_of(users)
            scores, news_id = best_of_rounded(rounded, bounds, hidden, ids, k, exact_scores)
        else:
            scores, news_id = best(self.articles.scores(users), hidden, ids, k)
        return {"news_id": news_id, "scores": scores}

    def _exact_scores_of(self, users):
        """Returns a function as `best_of_rounded` needs it, which scores titles as `score` does."""
        tower = self._untracked.model.candidate_tower

        def exact_scores(places, titles, rows):
            articles = tf.gather(self.articles.indexed.indices, places)
            features, titles_of = self.articles.features(articles, None, tf.float32)
            vectors, query = self.articles.base.split(users)
            return tower.score(features, tf.gather(titles_of, titles), rows, query, vectors)

        return exact_scores

    def encode(self, user_id, history):
        """Encodes users, the query tower.

        The inner product of a row and of a vector that `encode_articles` gives the same user is a
        score, that of an unknown article left aside.

        Args:
            user_id: `[batch]` ids of users.
            history: `[batch, history]` ids of clicked articles.

        Returns:
            `user_vectors`: `[batch, num_filters + num_terms]` float32; with
            `user_interest="density"`, `[batch, 1 + history, num_filters + num_terms]`, and a score
            is the log of the sum of the exponentials of their products.
        """
        user_id, history = _checked(user_id, history=history)
        users, _ = self._untracked.users(user_id, history, _untitled(history))
        return {"user_vectors": tf.cast(users, tf.float32)}

    def encode_articles(self, user_id, candidates):
        """Encodes articles as users see them, the candidate tower.

        Args:
            user_id: `[batch]` ids of users.
            candidates: `[batch, candidates]` ids of articles.

        Returns:
            `article_vectors`: `[batch, candidates, num_filters + num_terms]` float32, 0 at padding.
        """
        user_id, candidates = _checked(user_id, candidates=candidates)
        model = self._untracked.model
        slots = tf.where(candidates != "")
        nothing = tf.zeros([0], tf.string)
        indices = self._indices(tf.gather_nd(candidates, slots))
        features, articles = self._features(indices, nothing)
        embedding = model.user_embedding(model.users.table.lookup(user_id))
        query = self.articles.encoding.query(embedding)
        rows = tf.cast(slots[:, 0], tf.int32)
        vectors = model.candidate_tower.vectors(features, articles, rows, query)
        return {"article_vectors": placed(slots, vectors, tf.shape(candidates))}

    def explain(self, user_id, history, candidates):
        """Scores articles and returns the attention weights behind it; see `tfrs_npa.explain`.

        Args:
            user_id: `[batch]` ids of users.
            history: `[batch, history]` ids of clicked articles.
            candidates: `[batch, candidates]` ids of articles.

        Returns:
            `scores`: `[batch, candidates]` float32, -1e9 at padding.
            `candidate_words`, `candidate_word_weights`: `[batch, candidates, title_length]`, the
            words of the titles and their weights, float32.
            `history_weights`: `[batch, history]` float32, the weights of the clicked articles; 0
            for those that are not read.
            `history_words`, `history_word_weights`: `[batch, history, title_length]`, as for
            candidates.
            `contributions`: `[batch, candidates, history]` float32, what each clicked article adds
            to a score.
            `base_scores`: `[batch, candidates]` float32, what the score is without them.
            `candidate_titles`, `history_titles`: `[batch, candidates]`, `[batch, history]`, `""`
            of unknown articles.
            `known_users`: `[batch]` booleans, whether the model knows the users.
        """
        user_id, history, candidates = _checked(user_id, history=history, candidates=candidates)
        model = self._untracked.model
        clicked_ids, articles = self._indices(history), self._indices(candidates)
        clicks = model.query_tower.histories(clicked_ids)
        users = model.users.table.lookup(user_id)
        found = explain(model, users, clicks, articles)
        # Back to the columns of the request.
        clicked, slots = clicks != PADDING, tf.where(model.query_tower.read(clicked_ids))

        def of_history(weights):
            return placed(slots, selected(weights, clicked), tf.shape(history))

        return {
            "scores": tf.where(articles != PADDING, found.scores, MASKED_LOGIT),
            "candidate_words": self._words(articles),
            "candidate_word_weights": found.candidate_word_weights,
            "history_words": self._words(clicked_ids),
            "history_word_weights": of_history(found.history_word_weights),
            "history_weights": of_history(found.history_weights),
            "contributions": tf.transpose(
                of_history(tf.transpose(found.contributions, [0, 2, 1])), [0, 2, 1]
            ),
            "base_scores": found.base_scores,
            "candidate_titles": tf.gather(self.articles.titles, articles),
            "history_titles": tf.gather(self.articles.titles, clicked_ids),
            "known_users": model.user_embedding.known(users) != UNKNOWN_USER,
        }

    def _indices(self, ids):
        """Returns the indices of articles, 0 for `""`."""
        return self.articles.indexed.lookup(ids)

    def _words(self, articles):
        """Returns the words of titles, `[batch, width, title_length]`, for `[batch, width]`."""
        config = self._untracked.model.config
        titles = tf.gather(self.articles.titles, tf.reshape(articles, [-1]))
        words = self._untracked.model.catalog.vocabulary.tokenize(titles)
        words = words.to_tensor("", shape=[None, config.title_length])
        return tf.reshape(words, [*tf.unstack(tf.shape(articles)), config.title_length])

    def _encoded(self, titles):
        """Returns features of titles that are in no catalogue."""
        model = self._untracked.model
        tower = model.candidate_tower
        return self.articles.encoding.folded(tower.encode_titles(model.title_tokens(titles)))

    def _features(self, indices, titles):
        """Returns features of articles `[n]`, and the title of each; see `lookup_with_titles`."""
        dtype = self._untracked.model.candidate_tower.compute_dtype
        return self.articles.features(indices, self._encoded(titles), dtype)

    def _users(self, user_id, history, history_titles):
        """Returns user vectors, and the queries of the attention over words."""
        model = self._untracked.model
        embedding = model.user_embedding(model.users.table.lookup(user_id))
        indices, titles = self.articles.lookup_with_titles(history, history_titles)
        clicks = model.query_tower.clicks(model.query_tower.histories(indices))
        features, articles = self._features(clicks.news_id, titles)
        query = self.articles.encoding.query(embedding)
        users = model.query_tower.encode(clicks, features, articles, embedding, word_query=query)
        return users["output"], query

    def _scores(self, users, query, features, articles, slots, shape):
        rows = tf.cast(slots[:, 0], tf.int32)
        scores = self._untracked.model.candidate_tower.score(features, articles, rows, query, users)
        nothing = tf.fill(shape, MASKED_LOGIT)
        return tf.tensor_scatter_nd_update(nothing, slots, tf.cast(scores, tf.float32))


def _untitled(ids):
    return tf.zeros_like(ids)


def _beside(ids, titles, what):
    """Returns the titles of articles; no server checks that there are as many as ids."""
    check = tf.debugging.assert_equal(
        tf.shape(titles), tf.shape(ids), f'{what}_titles needs one title, or "", for each id'
    )
    with tf.control_dependencies([check]):
        return tf.identity(titles)


def _checked(user_id, **lists):
    """Returns the inputs as a vector and matrices; no server checks their ranks."""
    user_id = tf.ensure_shape(user_id, [None])
    lists = {name: tf.ensure_shape(rows, [None, None]) for name, rows in lists.items()}
    checks = [
        tf.debugging.assert_equal(
            tf.shape(rows)[0], tf.size(user_id), f"{name} needs one row for each user_id"
        )
        for name, rows in lists.items()
    ]
    with tf.control_dependencies(checks):
        return [tf.identity(value) for value in (user_id, *lists.values())]


def _concrete(function, inputs):
    # AutoGraph would look for loops and branches of Python's; there are none.
    traced = tf.function(without_gradients(function), input_signature=inputs, autograph=False)
    return traced.get_concrete_function()
