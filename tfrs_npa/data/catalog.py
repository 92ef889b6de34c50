"""Articles: from ids to indices, and from indices to the words of their titles."""

from __future__ import annotations

import collections
import itertools
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_npa._files import atomic_file
from tfrs_npa.data import ragged
from tfrs_npa.data.article_vectors import ArticleVectors
from tfrs_npa.data.columns import text_columns
from tfrs_npa.data.named_rows import load_array
from tfrs_npa.data.string_index import UNKNOWN, StringIndex
from tfrs_npa.data.tokenizers import tokenize
from tfrs_npa.data.vocabulary import Vocabulary, require_word
from tfrs_npa.data.word_vectors import WordVectors, title_word_vectors
from tfrs_npa.settings import DEFAULT_TOKENIZER, EARLIER_TOKENIZER, require_tokenizer

# Indices of padding (of words too), of the unknown article, and of the first other article.
PADDING, UNKNOWN_ARTICLE, FIRST_ARTICLE = range(3)
UNKNOWN_WORD = Vocabulary.specials.index(UNKNOWN)
_CHUNK = 16384
_WORDS_FILE = "words.txt"
_ARTICLES_FILE = "articles.jsonl"
_TOKENIZER_FILE = "tokenizer.txt"
_OWN_WORDS = "whitespace"
_VECTORS_FILE = "article_vectors.npy"

logger = logging.getLogger(__name__)


class _ArticleIndex(StringIndex):
    specials = ("", UNKNOWN)


class NewsCatalog:
    """All articles: 0 is padding, 1 the unknown article, others from 2 on in order of appearance.

    `NPAConfig.unknown_articles` decides how the unknown article counts.

    >>> catalog = NewsCatalog().adapt({"news_id": ["N7", "N9"], "title": ["Hello", "Hello, world"]})
    >>> catalog.index(["N9", "N1", ""]).tolist()
    [3, 1, 0]
    >>> catalog.tokens(title_length=2).tolist()
    [[0, 0], [0, 0], [2, 0], [2, 3]]

    Args:
        word_vectors: Pretrained vectors; `adapt` adds all words that have one to the vocabulary,
            for the titles of later articles.
        vocabulary: Words to use; with it, `extend` works without `adapt`.
        tokenizer: How titles are split into words, see `tfrs_npa.data.tokenizers.tokenize`. None:
            as those of `vocabulary`; else `"whitespace"` if `adapt` is given titles as lists of
            words, and `"unicode"` if not.
        article_vectors: Vectors of articles, which the candidate tower adds to the words of their
            titles. An article gets its vector when it is added; one without is encoded by its title
            alone.

    Attributes:
        titles: All titles by index; `titles[0]` and `titles[1]` are `""`. Of a title that was given
            as a list, the words with blanks between them.
        vocabulary: The words, or None before `adapt`.
        article_vectors: Vectors of the articles to come; `vectors` has those of the articles that
            are there.
        token_values: `int32 [tokens]`, the words of all titles at full length, packed.
        token_splits: `int64 [articles + 1]`; article `i` has
            `token_values[token_splits[i] : token_splits[i + 1]]`.
        coverage: After `adapt` with word vectors, the shares of distinct title words (`"words"`)
            and of title words as they occur (`"tokens"`) that have a vector; None without.

    Raises:
        ValueError: if there is no such tokenizer, or it is another one than the vocabulary's.
    """

    def __init__(
        self,
        word_vectors: WordVectors | None = None,
        vocabulary: Vocabulary | None = None,
        tokenizer: str | None = None,
        article_vectors: ArticleVectors | None = None,
    ):
        if tokenizer is not None:
            require_tokenizer(tokenizer)
        if vocabulary is not None and tokenizer not in (None, vocabulary.tokenizer):
            raise ValueError(
                f"the words are those of the tokenizer {vocabulary.tokenizer}, not of {tokenizer}"
            )
        self.word_vectors = word_vectors
        self.vocabulary = vocabulary
        # That of every `adapt`; None: as its titles are.
        self._tokenizer = tokenizer if vocabulary is None else vocabulary.tokenizer
        self.article_vectors = article_vectors
        self._clear()

    def __len__(self) -> int:
        """Number of articles, padding and the unknown article included."""
        return len(self._index)

    def __eq__(self, other) -> bool:
        return (
            isinstance(other, NewsCatalog)
            and self._index == other._index
            and self.titles == other.titles
            and self.vocabulary == other.vocabulary
            and np.array_equal(np.asarray(self._vectors), np.asarray(other._vectors))
        )

    def __repr__(self) -> str:
        words = 0 if self.vocabulary is None else len(self.vocabulary)
        return f"NewsCatalog({len(self):,} articles, {words:,} words)"

    @property
    def ids(self) -> list[str]:
        """All article ids by index: `ids[0]` is `""`, `ids[1]` is `"[UNK]"`."""
        return self._index.strings

    @property
    def table(self) -> tf.lookup.StaticHashTable:
        """Article ids to indices in a graph; see `StringIndex.table`."""
        return self._index.table

    def index(self, ids) -> np.ndarray:
        """Returns the indices of articles.

        Args:
            ids: A list, array or tensor of article ids of any shape.

        Returns:
            `int32` array of the same shape; 1 for unknown ids, 0 for `""`.
        """
        return self._index.index(ids)

    def adapt(self, news) -> NewsCatalog:
        """Replaces all articles by those of `news`, and learns the words of their titles.

        The words are those of the titles in order of appearance, then the other words that have a
        pretrained vector. A vector whose word the tokenizer can never produce is left out. In the
        text of a title, `[UNK]` is the unknown word, whichever the tokenizer.

        >>> catalog = NewsCatalog().adapt([{"news_id": "N7", "title": ["New_York", "snow"]}])
        >>> catalog.vocabulary.words[2:], catalog.vocabulary.tokenizer
        (['New_York', 'snow'], 'whitespace')

        Args:
            news: A `tf.data.Dataset` (batched or not) or iterable of dicts, or a dict of columns,
                with the string features `news_id` and `title`. A title may be a list of words
                instead, which are taken as they are.

        Returns:
            The catalogue itself.

        Raises:
            ValueError: if a feature is missing or not a string, an id is empty or reserved, or
                there are no articles; if a title is a list and the tokenizer is another one than
                `"whitespace"`, or a word of it is empty, reserved or holds white space.
        """
        self._clear()
        articles, tokenizer = _read_articles(news, self._tokenizer)
        self._add_articles(articles, stacklevel=3)
        if len(self) == len(_ArticleIndex.specials):
            raise ValueError("news holds no articles")
        found = _words_of(self.titles, tokenizer)
        counts = collections.Counter(found.counts)
        words = dict.fromkeys(counts)
        if self.word_vectors is not None:
            self.coverage: dict[str, float] | None = {
                "words": self.word_vectors.coverage(words),
                "tokens": self.word_vectors.coverage(counts.elements()),
            }
            logger.info(
                "word vectors cover %.1f %% of %s title words, %.1f %% of %s as they occur",
                100 * self.coverage["words"],
                f"{len(words):,}",
                100 * self.coverage["tokens"],
                f"{counts.total():,}",
            )
            words.update(dict.fromkeys(_producible(self.word_vectors.words, tokenizer)))
        self.vocabulary = _vocabulary(words, tokenizer)
        self.token_values = self.vocabulary.index(list(found.counts))[found.codes]
        self.token_splits = ragged.splits_of(found.lengths)
        self._adapted = len(self)
        return self

    def extend(self, news) -> NewsCatalog:
        """Adds the new articles of `news`; the words and the indices of the others stay.

        A repeated article keeps its first title; a warning counts those whose title differs.

        Args, Returns: as `adapt`.

        Raises:
            ValueError: as `adapt`, and if there are no words yet. No article is added then.
        """
        self.add(news)
        return self

    def add(self, news) -> np.ndarray:
        """Adds articles as `extend`, and returns their indices, `int32 [articles]`.

        Args, Raises: as `extend`.
        """
        articles, _ = _read_articles(news, self.require_vocabulary().tokenizer)
        indices = self._add_articles(articles)
        self._encode_titles()
        return indices

    def with_news(self, news, article_vectors: ArticleVectors | None = None) -> NewsCatalog:
        """Returns a larger catalogue, which has these articles and the words of their titles too.

        Words and articles that are there keep their indices, and articles their titles. A model of
        this catalogue has no rows for new words: make another, and give it the weights with
        `tfrs_npa.warm_start`.

        Args:
            news: As in `adapt`.
            article_vectors: Vectors of any of the articles, which come before those that this
                catalogue has; this one's stay as they are.

        Raises:
            ValueError: as `extend`; if the vectors are of another length than those that are there.
        """
        had = self.require_vocabulary()
        articles, tokenizer = _read_articles(news, had.tokenizer)
        ids, titles = map(list, zip(*articles)) if articles else ([], [])
        words = itertools.chain(had.words, _words_of(titles, tokenizer).counts)
        larger = NewsCatalog(
            vocabulary=_vocabulary(words, tokenizer),
            article_vectors=self._merged_vectors(article_vectors),
        )
        for some_ids, some_titles in (
            (self.ids[FIRST_ARTICLE:], self.titles[FIRST_ARTICLE:]),
            (ids, titles),
        ):
            if some_ids:
                larger.extend({"news_id": some_ids, "title": some_titles})
        larger._adapted = len(larger)
        return larger

    def require_vocabulary(self) -> Vocabulary:
        """Returns the words.

        Raises:
            ValueError: if there are none yet.
        """
        if self.vocabulary is None:
            raise ValueError("the catalogue has no words yet: call adapt(training_news) first")
        return self.vocabulary

    def tokens(self, title_length: int) -> np.ndarray:
        """Returns the words of all titles, cut to `title_length` and padded with 0 on the right.

        Returns:
            `int32 [articles, title_length]`; rows 0 and 1 are all 0.
        """
        splits = self.token_splits
        return ragged.pad(self.token_values, splits[:-1], np.diff(splits), title_length)

    def vectors(self) -> np.ndarray | None:
        """Returns the vectors of all articles, `float32 [articles, dim]`, zeros where none is.

        None if there are no vectors of articles.
        """
        return self._vectors

    def set_article_vectors(self, article_vectors: ArticleVectors | None) -> None:
        """Replaces the vectors of all articles, those to come included.

        A model takes them over with `NPA.set_catalog`; index again what was indexed.
        """
        self.article_vectors = article_vectors
        self._vectors = None if article_vectors is None else article_vectors.matrix(self.ids)

    def word_counts(self) -> np.ndarray:
        """Counts how often each word occurs in the titles that `adapt` or `with_news` saw.

        Returns:
            `int64 [words]`; of a loaded catalogue, the counts in all its titles.
        """
        end = self.token_splits[self._adapted or -1]
        size = len(self.require_vocabulary())
        return np.bincount(self.token_values[:end], minlength=size)

    def word_embeddings(
        self, dim: int, seed: int, from_titles: bool = False, centered: bool = False
    ) -> np.ndarray | None:
        """Returns initial values of the word table, from the pretrained vectors.

        Args:
            dim: Word dimensions of the model.
            seed: Seed of the draws for words without a vector.
            from_titles: Whether to use the vectors that `title_word_vectors` makes of the titles
                that `adapt` saw, if there are no pretrained ones.
            centered: Whether to subtract the mean over the words of titles as they occur. What all
                titles share, such as function words, then adds nothing to a mean of word vectors.
                Words without a vector, and the unknown word, become zero: nothing is known of them.
                Then the vectors are turned to their principal axes: products of vectors stay, and
                the first dimensions are those in which words differ most.

        Returns:
            `float32 [words, dim]` with zeros for padding, or None without word vectors.

        Raises:
            ValueError: if the word vectors have another dimension.
        """
        vectors = self.word_vectors
        if vectors is None and from_titles and self._adapted:
            vectors = self._vectors_of_titles(dim)
        if vectors is None:
            return None
        if vectors.dim != dim:
            raise ValueError(
                f"the word vectors have {vectors.dim} dimensions, the model {dim}: "
                f"set word_embedding_dim={vectors.dim} or take other vectors"
            )
        return self._matrix(vectors, seed, centered)

    def title_vectors(self, dim: int) -> np.ndarray:
        """Returns the word vectors that the titles make, centred as in `word_embeddings`.

        Args:
            dim: Length of a vector.

        Returns:
            `float32 [words, dim]`, from the titles that `adapt` or `with_news` saw; of a loaded
            catalogue, from all. Zeros if no title has two words.
        """
        vectors = self._vectors_of_titles(dim)
        if vectors is None:
            return np.zeros((len(self.require_vocabulary()), dim), np.float32)
        return self._matrix(vectors, seed=0, centered=True)

    def _matrix(self, vectors: WordVectors, seed: int, centered: bool) -> np.ndarray:
        words = self.require_vocabulary().words
        matrix = vectors.matrix(words, seed)
        if centered:
            known = np.fromiter((word in vectors for word in words), bool, len(words))
            known[UNKNOWN_WORD] = False
            # No title with a vector: the plain mean.
            weights = np.where(known, self.word_counts() + 1e-9, 0)
            matrix -= np.average(matrix, axis=0, weights=weights).astype(np.float32)
            matrix[~known] = 0.0
            matrix = _on_principal_axes(matrix, weights)
        matrix[PADDING] = 0.0
        return matrix

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes words, tokenizer and articles as text files into `folder`, created if missing.

        The vectors of articles, if there are any, are in an `.npy` file of `[articles, dim]`. The
        word vectors are not saved: they are in the weights of the model.

        Raises:
            ValueError: if there are no words yet.
        """
        vocabulary = self.require_vocabulary()
        folder = pathlib.Path(folder)
        with (
            atomic_file(folder / _TOKENIZER_FILE) as tokenizer,
            atomic_file(folder / _WORDS_FILE) as words,
            atomic_file(folder / _ARTICLES_FILE) as articles,
        ):
            tokenizer.write_text(f"{vocabulary.tokenizer}\n", encoding="utf-8")
            vocabulary.save(words)
            with articles.open("w", encoding="utf-8") as file:
                for news_id, title in zip(
                    self.ids[FIRST_ARTICLE:], self.titles[FIRST_ARTICLE:], strict=True
                ):
                    row = {"news_id": news_id, "title": title}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        vectors = self.vectors()
        if vectors is None:
            (folder / _VECTORS_FILE).unlink(missing_ok=True)
        else:
            with atomic_file(folder / _VECTORS_FILE) as temporary, temporary.open("wb") as file:
                np.save(file, vectors[FIRST_ARTICLE:])

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> NewsCatalog:
        """Loads a catalogue that `save` wrote, in this version or an earlier one.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a line is malformed; names the file and the line.
        """
        folder = pathlib.Path(folder)
        tokenizer, file = EARLIER_TOKENIZER, folder / _TOKENIZER_FILE
        if file.exists():
            tokenizer = file.read_text(encoding="utf-8").strip()
        try:
            require_tokenizer(tokenizer)
        except ValueError as error:
            raise ValueError(f"{file}:1: {error}") from error
        catalog = cls(vocabulary=Vocabulary.load(folder / _WORDS_FILE, tokenizer))
        catalog.extend(_saved_articles(folder / _ARTICLES_FILE))
        if (folder / _VECTORS_FILE).exists():
            vectors = load_array(folder / _VECTORS_FILE)
            catalog.set_article_vectors(ArticleVectors(catalog.ids[FIRST_ARTICLE:], vectors))
        return catalog

    def with_tokens(self, ids: list[str], titles: list[str], tokens: np.ndarray) -> NewsCatalog:
        """Returns a catalogue with the same words and other articles, whose words are known.

        Args:
            ids: The ids of articles by index, padding and the unknown article included.
            titles: Their titles.
            tokens: `int32 [articles, title_length]`, what `tokens` gave; titles that were cut stay
                cut.
        """
        catalog = NewsCatalog(vocabulary=self.vocabulary)
        for news_id in ids[FIRST_ARTICLE:]:
            catalog._index.add(news_id)
        catalog.titles, is_word = list(titles), tokens != PADDING
        catalog.token_values = tokens[is_word]
        catalog.token_splits = ragged.splits_of(np.count_nonzero(is_word, axis=1))
        return catalog

    def _clear(self):
        self._index = _ArticleIndex()
        self.set_article_vectors(self.article_vectors)
        self.titles = [""] * FIRST_ARTICLE
        self.token_values = np.zeros(0, np.int32)
        self.token_splits = np.zeros(FIRST_ARTICLE + 1, np.int64)
        self.coverage = None
        # How many articles `adapt` saw; those of `extend` come after them.
        self._adapted = 0
        # By dimension: a search makes many models, and these vectors take seconds.
        self._title_vectors = {}

    def _add_articles(self, articles, stacklevel: int = 4) -> np.ndarray:
        for news_id, _ in articles:
            self._index.require_allowed(news_id)
        indices, retitled = np.zeros(len(articles), np.int32), {}
        known = len(self)
        for row, (news_id, title) in enumerate(articles):
            indices[row] = index = self._index.add(news_id)
            if index == len(self.titles):
                self.titles.append(title)
            elif self.titles[index] != title:
                retitled[news_id] = title
        self._add_vectors(known)
        if retitled:
            warnings.warn(
                f"{len(retitled):,} articles came again with another title and keep the first one "
                f"(for example {next(iter(retitled))})",
                stacklevel=stacklevel,
            )
        return indices

    def _add_vectors(self, known: int) -> None:
        """Gives the articles from the index `known` on their vectors."""
        if self.article_vectors is None:
            return
        had = self._vectors
        if had is None:
            had = np.zeros((known, self.article_vectors.dim), np.float32)
        self._vectors = np.concatenate([had, self.article_vectors.matrix(self.ids[known:])])

    def _merged_vectors(self, given: ArticleVectors | None) -> ArticleVectors | None:
        """Returns the vectors of these articles and of those to come, with the given ones."""
        if self.article_vectors is None:
            return given
        merged = ArticleVectors(*self.article_vectors.items())
        if self._vectors is not None:
            merged.extend(self.ids[FIRST_ARTICLE:], self._vectors[FIRST_ARTICLE:])
        return merged if given is None else merged.extend(*given.items())

    def _vectors_of_titles(self, dim):
        key = dim, self._adapted or len(self)
        if key not in self._title_vectors:
            splits = self.token_splits[: key[1] + 1]
            self._title_vectors[key] = title_word_vectors(
                self.require_vocabulary().words, self.token_values, splits, dim
            )
        return self._title_vectors[key]

    def _encode_titles(self):
        first = len(self.token_splits) - 1
        values, lengths = [self.token_values], [np.diff(self.token_splits)]
        for start in range(first, len(self.titles), _CHUNK):
            encoded = self.require_vocabulary().encode(self.titles[start : start + _CHUNK])
            values.append(encoded.values.numpy())
            lengths.append(encoded.row_lengths().numpy())
        self.token_values = np.concatenate(values)
        self.token_splits = ragged.splits_of(np.concatenate(lengths))


def _on_principal_axes(vectors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Turns vectors so that their weighted second moments are diagonal and descending."""
    # Pretrained vectors are of many words that no title has: their float64 copies would be large.
    has_weight = weights > 1e-6 * weights.max()
    some = vectors[has_weight].astype(np.float64)
    moments = (some * weights[has_weight, np.newaxis]).T @ some
    axes = np.linalg.eigh(moments)[1][:, ::-1]
    # The sign of an eigenvector is arbitrary: here its largest component is positive.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(axes))])
    return vectors @ axes.astype(np.float32)


def _read_articles(news, tokenizer: str | None) -> tuple[list[tuple[str, str]], str]:
    """Returns ids and titles, and how the titles are split if that was not decided before."""
    chunks = text_columns(news, ["news_id", "title"], "news", lists=["title"])
    articles = [article for chunk in chunks for article in zip(*chunk, strict=True)]
    has_lists = any(isinstance(title, list) for _, title in articles)
    tokenizer = tokenizer or (_OWN_WORDS if has_lists else DEFAULT_TOKENIZER)
    if has_lists and tokenizer != _OWN_WORDS:
        raise ValueError(
            f"titles of news are lists of words, which the tokenizer {tokenizer} would split "
            f'again; give them as text, or make the catalogue with tokenizer="{_OWN_WORDS}"'
        )
    for row, (news_id, title) in enumerate(articles):
        if isinstance(title, list):
            for word in title:
                _require_own_word(word, f"article {news_id} (row {row}, the first is 0)")
            articles[row] = news_id, " ".join(title)
    return articles, tokenizer


def _require_own_word(word: str, where: str) -> None:
    try:
        require_word(word)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


class _Words(NamedTuple):
    """The words of titles as they occur.

    Attributes:
        counts: Distinct words in order of appearance, and how often each occurs.
        codes: `int32 [words]`, the position of each word in `counts`.
        lengths: `int64 [titles]`, how many words each title has.
    """

    counts: dict[str, int]
    codes: np.ndarray
    lengths: np.ndarray


def _words_of(titles: list[str], tokenizer: str) -> _Words:
    counts: dict[str, int] = {}
    places: dict[str, int] = {}
    codes, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    # A chunk at a time: as strings, the words of all titles would be large.
    for first in range(0, len(titles), _CHUNK):
        words = tokenize(titles[first : first + _CHUNK], tokenizer)
        distinct, own_codes, own_counts = tf.unique_with_counts(words.flat_values)
        found = [word.decode() for word in distinct.numpy()]
        for word, count in zip(found, own_counts.numpy().tolist(), strict=True):
            counts[word] = counts.get(word, 0) + count
            places.setdefault(word, len(places))
        codes.append(np.array([places[word] for word in found], np.int32)[own_codes.numpy()])
        lengths.append(words.row_lengths().numpy())
    return _Words(counts, np.concatenate(codes), np.concatenate(lengths))


def _vocabulary(words: Iterable[str], tokenizer: str) -> Vocabulary:
    """Returns words as a vocabulary, which has padding and the unknown word already."""
    learnt = (word for word in words if word not in Vocabulary.specials)
    return Vocabulary.from_words(learnt, tokenizer)


def _producible(words: list[str], tokenizer: str) -> list[str]:
    """Returns the words that a title can produce: those that the tokenizer leaves unchanged."""
    if not words:
        return []
    tokens = tokenize(words, tokenizer)
    same = tf.strings.reduce_join(tokens, axis=-1, separator=" ") == tf.constant(words)
    keep = tf.logical_and(same, tokens.row_lengths() == 1).numpy()
    return [word for word, kept in zip(words, keep, strict=True) if kept]


def _saved_articles(path: pathlib.Path):
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                yield {"news_id": row["news_id"], "title": row["title"]}
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number}: expected news_id and title as JSON") from error
