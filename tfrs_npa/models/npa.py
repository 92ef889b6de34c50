"""NPA as a `tfrs.Model`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import h5py
import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_npa._hdf5 import require_own_data
from tfrs_npa.config import NPAConfig
from tfrs_npa.data.article_vectors import ArticleVectors
from tfrs_npa.data.catalog import FIRST_ARTICLE, PADDING, UNKNOWN_ARTICLE, NewsCatalog
from tfrs_npa.data.users import UNKNOWN_USER, HashedUserIndex, UserIndex
from tfrs_npa.data.vocabulary import Vocabulary
from tfrs_npa.layers.personalized_attention import MASKED_LOGIT
from tfrs_npa.layers.untracked import Untracked
from tfrs_npa.layers.user_embedding import UserEmbedding
from tfrs_npa.metrics.impression_metrics import ImpressionMetrics
from tfrs_npa.metrics.unsaved import WeightedMean
from tfrs_npa.models.distributed_model import DistributedModel, require_no_servers
from tfrs_npa.models.explanation import Explanation, explain
from tfrs_npa.models.impression_scores import ImpressionScores, impression_scores
from tfrs_npa.models.news_encoder import NewsEncoder
from tfrs_npa.models.replicas import has_parameter_servers, is_mirrored, sum_over_replicas
from tfrs_npa.models.scored_steps import LOGITS, ScoredSteps, with_logits
from tfrs_npa.models.title_encoding import TitleEncoding
from tfrs_npa.models.user_encoder import UserEncoder
from tfrs_npa.optimizers import copy_variables
from tfrs_npa.settings import EARLIER_TOKENIZER, ENCODING_MEMORY

_VECTORS_FILE = "article_vectors.npy"


@tf.keras.utils.register_keras_serializable(package="tfrs_npa")
class NPA(DistributedModel):
    """Neural News Recommendation with Personalized Attention (Wu et al., KDD 2019).

    The score of an article for a user is made of products of what the two towers return:
    `query_tower({"user_id", "history"})` and `candidate_tower({"user_id", "news_id"})`. In the
    published forms it is the inner product of two vectors of `num_filters`; see `UserEncoder` for
    the other form of a user's interest. Training maximises the softmax of clicked articles against
    articles of the same impression that were not clicked (section 3.3), through
    `tfrs.tasks.Ranking`.

    `fit` takes `tfrs_npa.training_batches`; `evaluate`, `predict` and `validation_data` take
    `tfrs_npa.impression_batches`. `evaluate` reports the metrics of
    `tfrs_npa.metrics.ImpressionMetrics` and `loss`, the softmax cross-entropy with an impression's
    labels normalised to sum 1, over the impressions with a click. `predict` returns a ragged
    tensor `[impressions, (candidates)]` of logits, without padding and in the order of the
    batches.

    `evaluate` (and with it `fit(validation_data=...)`), `predict` and `predict_batches` encode each
    title once and score many batches at a time, see `ImpressionScores`. The scores are those of
    the towers. Under a strategy of several devices, or where a subclass has a `call` or towers of
    its own, each batch goes through the towers.

    Weights can be kept as a TensorFlow checkpoint (`save_weights("name")`) or as `.weights.h5`,
    and the whole model, with catalogue and users, as `.keras`.

    Args:
        config: Hyper-parameters.
        catalog: The articles, and the vocabulary of the word table.
        users: The users of the user table.

    Attributes:
        encoding_memory: Bytes that encoded words may take while `evaluate` and `predict` run, by
            default 4 GiB: 140,000 titles of 11 words, at the dimensions of `NPAConfig()`. Where it
            is too little, words are encoded again when they are needed again: the result is the
            same, and, unless it is 0, a warning says that it takes longer. The vectors of titles
            for the unknown user come on top, and so do products of words with the kernel, 200 MB
            for the 40,000 words of 32,768 titles.

    Call arguments:
        features: A dict of `user_id` `[batch]`, `history` `[batch, history]` (0 at padding) and
            `candidates` `[batch, candidates]` (0 at padding); other entries are not read.
        training: Whether dropout is on.

    Returns:
        `[batch, candidates]` float32 logits; -1e9 at padding.

    Raises:
        ValueError: if Keras's policy is `mixed_float16`, in which small gradients vanish.

    Example:
        >>> news = {"news_id": ["N1", "N2"], "title": ["Rain tomorrow", "Team wins final"]}
        >>> catalog = NewsCatalog().adapt(news)
        >>> users = UserIndex().adapt({"user_id": ["U1"]})
        >>> model = NPA(NPAConfig.preset("small"), catalog, users)
        >>> model({"user_id": [1], "history": [[2]], "candidates": [[2, 3]]}).shape
        TensorShape([1, 2])
    """

    # BackupAndRestore deletes the attribute of the model when `fit` ends; the next `fit` reads it.
    _training_state = None
    _scores = None

    def __init__(self, config: NPAConfig, catalog: NewsCatalog, users: UserIndex, name="npa"):
        super().__init__(name=name)
        # Of all that is given, only scores are no integers, and those stay float32.
        self._autocast = False
        self.config = config
        self.catalog = catalog
        self.users = users
        self.user_embedding = UserEmbedding(
            len(users),
            config.user_embedding_dim,
            dropout=config.user_dropout,
            initializer=config.user_initializer,
            seed=config.seed,
            name="user_embedding",
        )
        self.user_embedding.build((None,))
        self.candidate_tower = NewsEncoder(
            config,
            catalog.tokens(config.title_length).astype(np.int64),
            len(catalog.require_vocabulary()),
            self.user_embedding,
            catalog.word_embeddings(
                config.word_embedding_dim,
                config.seed,
                from_titles=config.word_initializer == "titles",
                centered=config.center_words,
            ),
            catalog.vectors(),
        )
        self.query_tower = UserEncoder(config, self.user_embedding, self.candidate_tower)
        self.encoding_memory = ENCODING_MEMORY
        self._untracked = Untracked(encoding=None, encoded_by=None)
        self.task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.CategoricalCrossentropy(
                from_logits=True, reduction=tf.keras.losses.Reduction.NONE
            )
        )
        self._loss_mean = WeightedMean("loss")
        self._ranking = ImpressionMetrics()
        if self.dtype_policy.name == "mixed_float16":
            raise ValueError(
                "NPA cannot be trained with mixed_float16, because its loss is never scaled; "
                "mixed_bfloat16 needs no scaling"
            )
        # All weights exist: they can be loaded before the model is first called.
        self.built = True

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """The mean loss and the ranking metrics, reset by Keras at every epoch."""
        return [self._loss_mean, *self._ranking.metrics]

    def training_metrics(self) -> list[tf.keras.metrics.Metric]:
        """The mean loss: training shows no whole impressions, which the others are about."""
        return [self._loss_mean]

    def add_articles(self, news=None) -> np.ndarray:
        """Adds articles to the catalogue so that they can be scored; no weights change.

        Args:
            news: The articles, as `NewsCatalog.extend` takes them. None: those by which the model's
                catalogue was extended directly.

        Returns:
            `int32 [articles]`, the indices of `news` in the catalogue.

        Raises:
            ValueError: as `NewsCatalog.extend`, or if the model is on parameter servers, where the
                number of articles is fixed.
        """
        require_no_servers(self, "add_articles")
        with self.candidate_tower.articles_lock.changing():
            indices = np.zeros(0, np.int32) if news is None else self.catalog.add(news)
            if len(self.catalog) != tf.shape(self.candidate_tower.tokens)[0]:
                self.set_catalog(self.catalog)
        return indices

    def set_catalog(self, catalog: NewsCatalog) -> None:
        """Replaces the articles that can be scored; no weight changes.

        Args:
            catalog: Articles with the vocabulary that the model was made with.

        Raises:
            ValueError: if the vocabulary is another one, or `NewsEncoder.set_articles` cannot take
                the vectors of the articles.
        """
        if catalog.vocabulary != self.catalog.vocabulary:
            raise ValueError(
                "The catalogue has another vocabulary than the word table of the model: other "
                "words, or another tokenizer. "
                "Add articles with `add_articles`, which leaves the words alone."
            )
        tokens = catalog.tokens(self.config.title_length)
        self.candidate_tower.set_articles(tokens, catalog.vectors())
        self.catalog = catalog

    def add_users(self, behaviors=None) -> None:
        """Adds users, who start as the unknown user does; no weight of the others changes.

        The user table is replaced by a larger one, and the optimizer by one whose state has as many
        rows: use `model.optimizer` afterwards. Top-K layers of the model follow; a graph of your
        own that was traced before goes on reading the old table.

        Args:
            behaviors: The users, as `UserIndex.extend` takes them. None: those by which the model's
                users were extended directly.

        Raises:
            ValueError: as `UserIndex.extend`, or if the optimizer is a legacy one, or the table is
                in shards, which cannot grow; or if `behaviors` is None and users are in buckets.
        """
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None and not isinstance(optimizer, tf.keras.optimizers.Optimizer):
            raise ValueError(
                f"users cannot be added to a model compiled with {type(optimizer).__module__}."
                f"{type(optimizer).__name__}: compile it with one of tf.keras.optimizers"
            )
        if not isinstance(self.user_embedding.table, tf.Variable):
            raise ValueError(
                "users cannot be added to a user table in shards: train `--from` the run"
            )
        if isinstance(self.users, HashedUserIndex):
            self._fill_buckets(behaviors)
            return
        if behaviors is not None:
            self.users.extend(behaviors)
        rows = np.arange(len(self.users), dtype=np.int32)
        rows[self.user_embedding.num_users :] = UNKNOWN_USER
        if len(rows) == self.user_embedding.num_users:
            return
        # Its graphs would keep the old table.
        self._untracked.encoding = None
        with self.distribute_strategy.scope():
            self.user_embedding.take_rows(rows)
            if optimizer is not None and len(optimizer.variables) > 1:  # it is built
                self.optimizer = type(optimizer).from_config(optimizer.get_config())
                self.optimizer.build(self.trainable_variables)
                copy_variables(optimizer.variables, self.optimizer.variables, {"user_table": rows})
        # Keras makes them again.
        self.train_function = self.test_function = self.predict_function = None

    def _fill_buckets(self, behaviors) -> None:
        """Adds users in buckets: those in empty ones start as the unknown user does."""
        if behaviors is None:
            raise ValueError(
                "users in buckets have to be given to add_users: an index that was extended "
                "directly does not say which buckets were empty before"
            )
        before = self.users.known
        self.users.extend(behaviors)
        rows = np.arange(len(before), dtype=np.int32)
        rows[self.users.known & ~before] = UNKNOWN_USER
        optimizer = getattr(self, "optimizer", None)
        for variables in (self.user_embedding.weights, optimizer.variables if optimizer else []):
            copy_variables(variables, variables, {"user_table": rows})

    def title_tokens(self, titles):
        """Returns the words of titles, also of those that are in no catalogue, also in a graph.

        Args:
            titles: `[titles]` strings in UTF-8.

        Returns:
            `int32 [titles, title_length]` word indices, 0 at padding.
        """
        tokens = self.catalog.require_vocabulary().encode(titles)
        return tokens.to_tensor(PADDING, shape=[None, self.config.title_length])

    def call(self, features, training=False):
        """Scores candidates; see the class."""
        candidates = tf.cast(features["candidates"], tf.int32)
        if LOGITS in features and not training:
            return self.with_unknown_articles(features[LOGITS], candidates)
        clicks = self.query_tower.clicks(features["history"])
        slots = tf.where(candidates != PADDING)
        # History and candidates together, so that a title that is in both is encoded once.
        articles = tf.concat([clicks.news_id, tf.gather_nd(candidates, slots)], axis=0)
        encoded, titles = self.candidate_tower.distinct_features(articles, training)
        clicked, shown = tf.split(titles, [tf.size(clicks.news_id), tf.shape(slots)[0]])
        user_embedding = self.user_embedding(features["user_id"], training=training)
        user = self.query_tower.encode(clicks, encoded, clicked, user_embedding, training)
        rows = tf.cast(slots[:, 0], tf.int32)
        logits = self.candidate_tower.score(
            encoded, shown, rows, user["word_query"], user["output"], training
        )
        nothing = tf.fill(tf.shape(candidates), MASKED_LOGIT)
        logits = tf.tensor_scatter_nd_update(nothing, slots, tf.cast(logits, tf.float32))
        return self.with_unknown_articles(logits, candidates)

    def with_unknown_articles(self, logits, candidates):
        """Gives unknown candidates the mean score of the known ones of their list.

        So an article that is newer than the catalogue stands between the others. Where
        `config.unknown_articles` is `"untitled"`, scores stay as they are.

        Args:
            logits: `[batch, candidates]` float32, anything at padding.
            candidates: `[batch, candidates]` int32 indices of the catalogue, 0 at padding.

        Returns:
            `[batch, candidates]`; 0 for the unknown articles of a list that has no others.
        """
        if self.config.unknown_articles == "untitled":
            return logits
        is_known = candidates >= FIRST_ARTICLE
        known = tf.cast(is_known, logits.dtype)
        sums = tf.reduce_sum(tf.where(is_known, logits, 0), axis=1, keepdims=True)
        means = tf.math.divide_no_nan(sums, tf.reduce_sum(known, axis=1, keepdims=True))
        return tf.where(candidates == UNKNOWN_ARTICLE, means, logits)

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        metrics=None,
        loss_weights=None,
        weighted_metrics=None,
        *args,
        jit_compile=None,
        **kwargs,
    ):
        """Configures the model for training, as `tf.keras.Model.compile`.

        Raises:
            ValueError: if there is a loss or a metric, since NPA has its own (see `compute_loss`
                and `metrics`, which a subclass can override), or if `jit_compile` is true: XLA
                compiles nothing whose shapes depend on values, such as how many titles are
                distinct.
        """
        given = {
            "loss": loss,
            "metrics": metrics,
            "loss_weights": loss_weights,
            "weighted_metrics": weighted_metrics,
        }
        own = set(map(id, self.metrics))
        for name, value in given.items():
            # KerasTuner gives the model's own metrics back, and a loss that is an empty dict.
            is_own = isinstance(value, list) and own.issuperset(map(id, value))
            if value and not is_own:
                raise ValueError(
                    f"compile({name}=...) would have no effect: NPA has a loss and metrics of its "
                    "own. Override compute_loss in a subclass, or give weights to impressions "
                    "with sample_weight"
                )
        if jit_compile:
            raise ValueError(
                "NPA cannot be compiled with XLA (jit_compile=True): the number of distinct titles "
                "and words, and so the shapes in a step, depend on the batch"
            )
        super().compile(optimizer, None, None, None, None, *args, jit_compile=jit_compile, **kwargs)

    def compile_from_config(self, config):
        """Compiles a loaded model, as `tf.keras.Model` does only where it has no `compile`."""
        self.compile(**tf.keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        *args,
        class_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        **kwargs,
    ):
        """Trains the model, as `tf.keras.Model.fit`.

        After an interruption, the same call with `tf.keras.callbacks.BackupAndRestore` continues
        with the next epoch of `training_batches`, as an uninterrupted one would; only the draws of
        dropout differ. Back up at the end of epochs, as is the default. Epochs have to be passes
        over the data: with `steps_per_epoch`, skip the batches of complete epochs yourself.

        Raises:
            ValueError: if there is a `class_weight`: a click is compared with what was not clicked
                in the same impression, so there are no classes.
        """
        _refuse(class_weight)
        is_list = not isinstance(callbacks, tf.keras.callbacks.CallbackList)
        if isinstance(x, tf.data.Dataset) and callbacks and is_list and not steps_per_epoch:
            callbacks = [*tf.nest.flatten(callbacks), _SkipRestored(x, initial_epoch)]
        return super().fit(
            x,
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            *args,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            **kwargs,
        )

    def load_weights(self, filepath, *args, **kwargs):
        """Loads weights, as `tf.keras.Model.load_weights`.

        Raises:
            ValueError: if it is an HDF5 file that has parts in other files, which could be any.
        """
        path = os.fspath(filepath)
        # Keras takes others for HDF5 files too, such as "*.hdf5".
        if path.endswith(".h5") or h5py.is_hdf5(path):
            require_own_data(path)
        return super().load_weights(filepath, *args, **kwargs)

    def train_on_batch(self, *args, class_weight=None, **kwargs):
        """Takes one step, as `tf.keras.Model.train_on_batch`.

        Raises:
            ValueError: if there is a `class_weight`; see `fit`.
        """
        _refuse(class_weight)
        return super().train_on_batch(*args, **kwargs)

    def compute_loss(self, features, training=False):
        """Returns the mean loss of a batch and updates the metrics.

        Args:
            features: A batch of `training_batches` or `impression_batches`. `sample_weight`
                `[batch]`, if it is there (a feature, or the third element of what `fit` and
                `evaluate` take), weighs the impressions in the loss and in the metrics.
            training: Whether dropout is on. Ranking metrics need whole impressions, so they are
                updated only when it is off.

        Returns:
            The softmax cross-entropy of the logits over `config.temperature`, a scalar: the
            weighted mean over the rows that have a click. Under a `tf.distribute` strategy, the
            share of this replica in the mean over the batches of all.

        Raises:
            ValueError: if `sample_weight` is not `[batch]`.
        """
        logits = self(features, training=training)
        clicked = tf.cast(features["clicked"] > 0, logits.dtype)
        clicks = tf.reduce_sum(clicked, axis=1)
        weights, sample_weight = tf.cast(clicks > 0, logits.dtype), features.get("sample_weight")
        if sample_weight is not None:
            sample_weight = tf.cast(sample_weight, logits.dtype)
            if not sample_weight.shape.is_compatible_with(clicks.shape):
                raise ValueError(
                    f"sample_weight has shape {sample_weight.shape}; it has to be [batch], "
                    "a weight for each impression"
                )
            weights *= tf.ensure_shape(sample_weight, clicks.shape)
        losses = self.task(
            clicked / tf.maximum(clicks, 1)[:, tf.newaxis],
            logits / self.config.temperature,
            compute_metrics=False,
        )
        self._loss_mean.update_state(losses, sample_weight=weights)
        if not training:
            self._ranking.update(
                features["clicked"],
                logits,
                mask=features["candidates"] != PADDING,
                known_user=self.user_embedding.known(features["user_id"]) != UNKNOWN_USER,
                sample_weight=sample_weight,
            )
        # Gradients of replicas are added up.
        whole = sum_over_replicas(tf.reduce_sum(weights))
        return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), whole)

    def evaluate(self, *args, **kwargs):
        """Evaluates the model, as `tf.keras.Model.evaluate`; encodes each title once."""
        with self._scoring():
            return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """Scores candidates, as `tf.keras.Model.predict`; encodes each title once."""
        with self._scoring() as scores:
            if scores is None:
                return super().predict(*args, **kwargs)
            with self.without_replicas():
                return super().predict(*args, **kwargs)

    def predict_batches(self, batches: tf.data.Dataset) -> Iterator[tf.RaggedTensor]:
        """Scores candidates as `predict`, but keeps no scores: memory does not grow with the log.

        Each title is encoded once, when it is needed first, so the model must not be trained until
        the last batch.

        Args:
            batches: `tfrs_npa.impression_batches`.

        Yields:
            For each batch, ragged `[batch, (candidates)]` float32 logits, without padding.
        """
        scores, step = self._impression_scores(), self.predict_step
        if scores is None:
            step = tf.function(step, input_signature=[batches.element_spec])
            yield from map(step, batches)
        else:
            yield from map(step, with_logits(scores, batches))

    @property
    def title_encoding(self) -> TitleEncoding:
        """What evaluations keep of titles; the same one for all, so that graphs are traced once."""
        own, encoder = self._untracked, self.candidate_tower
        news_attention = self.query_tower.attention
        parts = encoder, encoder.attention, encoder.user_embedding, news_attention
        if own.encoding is None or own.encoded_by != parts:
            own.encoding = TitleEncoding(encoder, news_attention=news_attention)
            own.encoded_by = parts
        return own.encoding

    def _impression_scores(self) -> ImpressionScores | None:
        """Returns what scores many impressions faster than `call`, if it would score them alike."""
        strategy = self.distribute_strategy
        is_alone = strategy.num_replicas_in_sync == 1 and not has_parameter_servers(strategy)
        if not (is_alone or is_mirrored(strategy)):
            return None
        executions = self._steps_per_execution
        if type(self).call is not NPA.call or (executions is not None and executions.numpy() != 1):
            return None
        return impression_scores(self, self.encoding_memory)

    @contextlib.contextmanager
    def _scoring(self) -> Iterator[ImpressionScores | None]:
        """For a `with` block, steps take the scores of batches from `_impression_scores`."""
        self._scores = self._impression_scores()
        try:
            yield self._scores
        finally:
            self._scores = None
            for function in (self.test_function, self.predict_function):
                if isinstance(function, ScoredSteps):
                    function.release()

    def _scored_steps(self, function, step, counter, force) -> ScoredSteps | None:
        if force or not isinstance(function, ScoredSteps):
            if self._scores is None:
                return None
            function = ScoredSteps(step, counter, self.run_eagerly, self.distribute_strategy)
        if self._scores is not None:
            function.start(self._scores, self._steps)
        return function

    def make_test_function(self, force=False):
        """Makes the function of an evaluation step, as `tf.keras.Model.make_test_function`."""
        function = self._scored_steps(self.test_function, self.test_step, self._test_counter, force)
        self.test_function = function or super().make_test_function(force)
        return self.test_function

    def make_predict_function(self, force=False):
        """Makes the function of a prediction step, as `tf.keras.Model.make_predict_function`."""
        function, step = self.predict_function, self.predict_step
        function = self._scored_steps(function, step, self._predict_counter, force)
        self.predict_function = function or super().make_predict_function(force)
        return self.predict_function

    def explain(self, features) -> Explanation:
        """Explains the scores of candidates by words and by clicked articles.

        >>> batch = next(iter(impression_batches))
        >>> found = model.explain(batch)
        >>> model.catalog.titles[batch["history"][0, tf.argmax(found.contributions[0, 0])]]

        Args:
            features: A batch of `tfrs_npa.impression_batches`, of which `user_id`, `history` and
                `candidates` are read.

        Returns:
            An `Explanation`, float32. Its scores are those that calling the model gives.
        """
        return explain(self, features["user_id"], features["history"], features["candidates"])

    def make_train_function(self, force=False):
        """Makes the function of a training step, as `tf.keras.Model.make_train_function`."""
        if isinstance(self.optimizer, tf.keras.optimizers.Optimizer):
            # TensorFlow traces a function that creates variables twice, which takes seconds.
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, features):
        """Takes one optimizer step; returns the epoch's mean loss so far."""
        super().train_step(_unpacked(features))
        return {metric.name: metric.result() for metric in self.training_metrics()}

    def test_step(self, features):
        """Scores one batch; returns the means so far."""
        super().test_step(_unpacked(features))
        return {metric.name: metric.result() for metric in self.metrics}

    def predict_step(self, features):
        """Returns the logits of the real candidates, a ragged `[batch, (candidates)]`."""
        features = _unpacked(features)
        return tf.ragged.boolean_mask(self(features), features["candidates"] != PADDING)

    def save_assets(self, dir_path):
        """Writes the vectors of the articles into a `.keras` file, as Keras asks."""
        if (vectors := self.catalog.vectors()) is not None:
            np.save(os.path.join(dir_path, _VECTORS_FILE), vectors[FIRST_ARTICLE:])
        if isinstance(self.users, HashedUserIndex):
            self.users.save(os.path.join(dir_path, self.users.file_name))

    def load_assets(self, dir_path):
        """Reads what `save_assets` wrote, as Keras asks."""
        if self.catalog.article_vectors is not None:
            vectors = np.load(os.path.join(dir_path, _VECTORS_FILE), allow_pickle=False)
            ids = self.catalog.ids[FIRST_ARTICLE:]
            self.catalog.set_article_vectors(ArticleVectors(ids, vectors))
            self.set_catalog(self.catalog)
        if isinstance(self.users, HashedUserIndex):
            self.users = UserIndex.load(os.path.join(dir_path, self.users.file_name))

    def get_config(self):
        """Returns hyper-parameters, articles, words, tokenizer and users, in types of JSON."""
        vectors, users = self.catalog.article_vectors, self.users
        vocabulary = self.catalog.require_vocabulary()
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "tokenizer": vocabulary.tokenizer,
            "words": vocabulary.words[len(Vocabulary.specials) :],
            "news_ids": self.catalog.ids[FIRST_ARTICLE:],
            "titles": self.catalog.titles[FIRST_ARTICLE:],
            # The vectors themselves are an asset.
            "vector_dim": None if vectors is None else vectors.dim,
            # Those who came later have no row. Which buckets have users is an asset.
            "users": users.ids[len(UserIndex.specials) : self.user_embedding.num_users]
            if users.buckets is None
            else {"buckets": users.buckets},
        }

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        if save_type == "savedmodel":
            # Keras would save a call that takes indices, and no way from ids to them.
            raise ValueError(
                "An NPA is no SavedModel of Keras's: write one that takes ids, for serving, with "
                "`tfrs_npa.export(model, folder)`, or keep the model with "
                '`model.save("model.keras")`.'
            )
        return super()._trackable_children(save_type, **kwargs)

    @classmethod
    def from_config(cls, config):
        """Returns an untrained model from what `get_config` gave."""
        tokenizer = config.get("tokenizer", EARLIER_TOKENIZER)
        dim = config.get("vector_dim")
        catalog = NewsCatalog(
            vocabulary=Vocabulary.from_words(config["words"], tokenizer),
            article_vectors=None if dim is None else ArticleVectors([], np.zeros((0, dim))),
        )
        if config["news_ids"]:
            catalog.extend({"news_id": config["news_ids"], "title": config["titles"]})
        users = UserIndex()
        if isinstance(config["users"], dict):
            users = UserIndex.hashed(**config["users"])
        elif config["users"]:
            users.extend({"user_id": config["users"]})
        return cls(NPAConfig.from_saved(config["config"]), catalog, users, name=config["name"])


class _SkipRestored(tf.keras.callbacks.Callback):
    """Skips the passes over a data set that were complete when a training was interrupted."""

    def __init__(self, batches: tf.data.Dataset, initial_epoch: int):
        super().__init__()
        self._batches = batches
        self._next = initial_epoch

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the passes that come before that of the epoch, which has not started yet."""
        for _ in range(self._next, epoch):
            next(iter(self._batches))
        self._next = epoch + 1


def _refuse(class_weight):
    if class_weight is not None:
        raise ValueError(
            "class_weight has no meaning for NPA, which compares the candidates of an impression "
            "with each other; give weights to impressions with sample_weight"
        )


def _unpacked(data):
    """Returns a batch as one dict, with the labels and weights that Keras puts beside it."""
    features, clicked, sample_weight = tf.keras.utils.unpack_x_y_sample_weight(data)
    beside = {"clicked": clicked, "sample_weight": sample_weight}
    return features | {name: value for name, value in beside.items() if value is not None}
