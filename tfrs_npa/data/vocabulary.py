"""Titles to words, and words to indices."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from tfrs_npa.data.string_index import UNKNOWN, StringIndex

# RE2's \w is ASCII and would take the accent off "café".
_SEPARATORS = r"[^\p{L}\p{N}_.,!?;|]+"
_PUNCTUATION = r"([.,!?;|])"


def tokenize(titles) -> tf.RaggedTensor:
    """Splits titles into lower-case words and single punctuation marks.

    A word is a run of letters, digits and underscores of any script; each of `.,!?;|` is a word of
    its own; everything else separates. Runs eagerly and in a graph alike.

    >>> tokenize(["Breaking-news, again?"]).to_list()
    [[b'breaking', b'news', b',', b'again', b'?']]

    Args:
        titles: Strings `[...]` in UTF-8, of rank 1 or more.

    Returns:
        Words as a ragged string tensor `[..., (words)]`.
    """
    # Lowering ends a title at a NUL.
    titles = tf.strings.regex_replace(titles, r"\x00", " ")
    titles = tf.strings.lower(titles, encoding="utf-8")
    titles = tf.strings.regex_replace(titles, _SEPARATORS, " ")
    titles = tf.strings.regex_replace(titles, _PUNCTUATION, r" \1 ")
    return tf.strings.split(titles)


class Vocabulary(StringIndex):
    """Words and their indices: 0 is padding, 1 the unknown word, others from 2 on in order.

    >>> vocabulary = Vocabulary.from_words(["breaking", "news"])
    >>> vocabulary.encode(["Breaking news today", ""]).to_list()
    [[2, 3, 1], []]
    """

    specials = ("", UNKNOWN)

    @classmethod
    def from_words(cls, words: Iterable[str]) -> Vocabulary:
        """Makes a vocabulary of the distinct words of `words`, in order of first appearance.

        Raises:
            ValueError: if a word is empty, reserved or holds white space, which no title can match.
        """
        vocabulary = cls()
        for word in dict.fromkeys(words):
            if word.split() != [word]:
                raise ValueError(f"{word!r} is not a word: it is empty or holds white space")
            vocabulary.add(word)
        return vocabulary

    @property
    def words(self) -> list[str]:
        """All words by index: `words[0]` is `""`, `words[1]` is `"[UNK]"`."""
        return self.strings

    def encode(self, titles) -> tf.RaggedTensor:
        """Turns titles into word indices, eagerly or in a graph.

        Args:
            titles: Strings `[...]` in UTF-8, of rank 1 or more.

        Returns:
            Word indices as a ragged `int32` tensor `[..., (words)]`.
        """
        return self.table.lookup(tokenize(titles))
