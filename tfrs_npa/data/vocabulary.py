"""Words of titles, and their indices."""

from __future__ import annotations

import os
from collections.abc import Iterable

import tensorflow as tf

from tfrs_npa.data.string_index import UNKNOWN, StringIndex
from tfrs_npa.data.tokenizers import tokenize
from tfrs_npa.settings import DEFAULT_TOKENIZER, EARLIER_TOKENIZER, require_tokenizer


class Vocabulary(StringIndex):
    """Words and their indices: 0 is padding, 1 the unknown word, others from 2 on in order.

    >>> vocabulary = Vocabulary.from_words(["breaking", "news"])
    >>> vocabulary.encode(["Breaking news today", ""]).to_list()
    [[2, 3, 1], []]

    Args:
        tokenizer: How titles are split into words, see `tfrs_npa.data.tokenizers.tokenize`.

    Raises:
        ValueError: if there is no such tokenizer.
    """

    specials = ("", UNKNOWN)

    def __init__(self, tokenizer: str = DEFAULT_TOKENIZER):
        require_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        super().__init__()

    def __eq__(self, other) -> bool:
        return super().__eq__(other) and self.tokenizer == other.tokenizer

    @classmethod
    def from_words(cls, words: Iterable[str], tokenizer: str = DEFAULT_TOKENIZER) -> Vocabulary:
        """Makes a vocabulary of the distinct words of `words`, in order of first appearance.

        Raises:
            ValueError: if a word is empty, reserved or holds white space, which no title can match;
                if there is no such tokenizer.
        """
        vocabulary = cls(tokenizer)
        for word in dict.fromkeys(words):
            require_word(word)
            vocabulary.add(word)
        return vocabulary

    @property
    def words(self) -> list[str]:
        """All words by index: `words[0]` is `""`, `words[1]` is `"[UNK]"`."""
        return self.strings

    def tokenize(self, titles) -> tf.RaggedTensor:
        """Splits titles into words, known or not; args and result as of `encode`, but strings."""
        return tokenize(titles, self.tokenizer)

    def encode(self, titles) -> tf.RaggedTensor:
        """Turns titles into word indices, eagerly or in a graph.

        Args:
            titles: Strings `[...]` in UTF-8, of rank 1 or more.

        Returns:
            Word indices as a ragged `int32` tensor `[..., (words)]`.
        """
        return self.table.lookup(self.tokenize(titles))

    @classmethod
    def load(cls, path: str | os.PathLike[str], tokenizer: str = EARLIER_TOKENIZER) -> Vocabulary:
        """Loads the words that `save` wrote, which leaves the tokenizer to the caller.

        Args:
            path: The file.
            tokenizer: The tokenizer that the words were made with. The default is that of files of
                versions without a choice; `NewsCatalog.save` writes a file that names it.

        Raises:
            FileNotFoundError, ValueError: as `StringIndex.load`; if there is no such tokenizer.
        """
        vocabulary = super().load(path)
        require_tokenizer(tokenizer)
        vocabulary.tokenizer = tokenizer
        return vocabulary


def require_word(word: str) -> None:
    """Raises a ValueError if `word` is empty, reserved or holds white space."""
    if word.split() != [word] or word in Vocabulary.specials:
        raise ValueError(f"{word!r} is not a word: it is empty, reserved or holds white space")
