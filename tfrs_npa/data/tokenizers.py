"""Titles to words, with TensorFlow's own operations: eagerly, in a graph and in a SavedModel."""

from __future__ import annotations

import functools

import tensorflow as tf

from tfrs_npa.data.unicode_table import (
    IOTA,
    IOTA_SUBSCRIPT,
    LETTER,
    MARK,
    NOT_ALONE,
    PAGE,
    PUNCTUATION,
    SECOND_BITS,
    SEPARATOR,
    UnicodeTable,
    unicode_table,
)
from tfrs_npa.settings import DEFAULT_TOKENIZER, require_tokenizer

# RE2's \w is ASCII and would take the accent off "café".
_SEPARATORS = r"[^\p{L}\p{N}_.,!?;|]+"
_PUNCTUATION = r"([.,!?;|])"
# What Python's str.split takes for white space, and no word holds.
_WHITE_SPACE = r"[\s\x0b\x1c-\x1f\x{85}\p{Z}]+"
# A Greek vowel takes three marks at most, and no character composes from more.
_MOST_COMPOSED = 3


def tokenize(titles, tokenizer: str = DEFAULT_TOKENIZER) -> tf.RaggedTensor:
    """Splits titles into words.

    - `"unicode"`: for titles in any language. Titles are folded as by Unicode's `NFKC_Casefold`, so
      that case, full-width forms and the spelling of accents make no difference. A word is a run of
      letters and digits with their marks, and underscores; each of `.,!?;|`, and each character of
      a script written without spaces, is a word of its own; everything else separates.
    - `"mind"`: for parity with published code. The same without marks, folding but for lower case,
      and scripts without spaces.
    - `"whitespace"`: for titles that are split into words already; white space separates them.

    The first two give the same words of titles in ASCII.

    >>> tokenize(["Breaking-news, again?", "ＡＩ技術"]).to_list()
    [[b'breaking', b'news', b',', b'again', b'?'], [b'ai', b'技', b'術']]

    Args:
        titles: Strings `[...]` in UTF-8, of rank 1 or more. What is not UTF-8 becomes U+FFFD, as
            with Python's `errors="replace"`; it separates, but for `"whitespace"`.
        tokenizer: One of `tfrs_npa.settings.TOKENIZERS`.

    Returns:
        Words as a ragged string tensor `[..., (words)]`.

    Raises:
        ValueError: if there is no such tokenizer.
    """
    require_tokenizer(tokenizer)
    titles = tf.convert_to_tensor(titles, tf.string)
    if tokenizer == "mind":
        titles = _mind(titles)
    elif tokenizer == "unicode":
        titles = _unicode(titles)
    else:
        titles = tf.strings.unicode_transcode(titles, "UTF-8", "UTF-8", errors="replace")
        titles = tf.strings.regex_replace(titles, _WHITE_SPACE, " ")
    return tf.strings.split(titles)


def _mind(titles):
    """Returns titles whose words are separated by blanks."""
    # Lowering ends a title at a NUL.
    titles = tf.strings.regex_replace(titles, r"\x00", " ")
    titles = tf.strings.lower(titles, encoding="utf-8")
    titles = tf.strings.regex_replace(titles, _SEPARATORS, " ")
    return tf.strings.regex_replace(titles, _PUNCTUATION, r" \1 ")


def _unicode(titles):
    """Returns titles whose words are separated by blanks."""
    titles, shape = tf.reshape(titles, [-1]), tf.shape(titles)
    words = _mind(titles)  # for ASCII the same, and faster
    others = tf.where(~tf.strings.regex_full_match(titles, "[[:ascii:]]*"))

    def with_others():
        return tf.tensor_scatter_nd_update(words, others, _folded(tf.gather_nd(titles, others)))

    return tf.reshape(tf.cond(tf.size(others) > 0, with_others, lambda: words), shape)


@functools.partial(tf.function, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _folded(titles):
    """Does the same for titles in any language; traced once for all graphs that need it."""
    table = UnicodeTable(*map(tf.constant, unicode_table()))
    # The separator in front keeps marks from going to the title before.
    titles = tf.strings.unicode_decode(tf.strings.join([" ", titles]), "UTF-8")
    codes, splits = titles.flat_values, titles.row_splits
    records = _records(table, codes)
    folds, classes = tf.gather(table.folds, records), tf.gather(table.classes, records)
    # Most titles are folded code point by code point; UAX 15 tells them from the others in
    # "Detecting Normalization Forms".
    is_disordered = tf.logical_and(classes[1:] < classes[:-1], classes[1:] > 0)
    odd = tf.where(tf.logical_or(folds[1:] == NOT_ALONE, is_disordered))[:, 0] + 1
    rows = tf.unique(tf.searchsorted(splits, odd, side="right") - 1)[0]
    words = _words(tf.where(folds > 0, folds, codes), tf.gather(table.kinds, records), splits)
    odd_titles = tf.gather(titles, rows)
    codes, splits = _normalized(table, odd_titles.flat_values, odd_titles.row_splits)
    odd_words = _words(codes, tf.gather(table.kinds, _records(table, codes)), splits)
    return tf.tensor_scatter_nd_update(words, rows[:, tf.newaxis], odd_words)


def _normalized(table, codes, splits):
    """Folds and composes the code points of titles, whatever they are."""
    records = _records(table, codes)
    starts, ends = tf.gather(table.splits, records), tf.gather(table.splits, records + 1)
    decomposed = tf.ragged.range(starts, ends)
    folded = tf.gather(table.sequences, decomposed.flat_values)
    codes = tf.where(folded == 0, tf.gather(codes, decomposed.value_rowids()), folded)
    splits = tf.gather(decomposed.row_splits, splits)
    codes = _in_canonical_order(codes, tf.gather(table.classes, _records(table, codes)))
    codes = tf.where(codes == IOTA_SUBSCRIPT, IOTA, codes)
    records = _records(table, codes)
    classes, is_second = tf.gather(table.classes, records), tf.gather(table.is_second, records)
    for _ in range(_MOST_COMPOSED):
        codes, left = _composed(table, codes, classes, is_second)
        splits = tf.searchsorted(left, splits, out_type=splits.dtype)
        codes, classes, is_second = (tf.gather(x, left) for x in (codes, classes, is_second))
    return codes, splits


def _in_canonical_order(codes, classes):
    """Sorts the marks that follow a code point by their combining classes."""
    marks = tf.where(classes > 0)
    # The number of other code points before a mark tells whose it is.
    owners = tf.cast(marks[:, 0], tf.int32) - tf.range(tf.shape(marks)[0])
    order = tf.argsort(owners * 256 + tf.gather_nd(classes, marks), stable=True)
    ordered = tf.gather(tf.gather_nd(codes, marks), order)
    return tf.tensor_scatter_nd_update(codes, marks, ordered)


def _composed(table, codes, classes, is_second):
    """Composes each starter with the first code point after it that it composes with, if any.

    A starter is of combining class 0. What comes between the two has to be of a lower class than
    the second; as marks are in order, the one just before it tells.

    Returns:
        The code points, and the positions of those that are left.
    """
    is_free = tf.logical_or(classes[:-1] == 0, classes[:-1] < classes[1:])
    seconds = tf.where(tf.logical_and(is_second[1:], is_free))[:, 0] + 1
    starters = tf.where(classes == 0)[:, 0]
    firsts = tf.gather(starters, tf.searchsorted(starters, seconds) - 1)
    pairs = [tf.cast(tf.gather(codes, places), tf.int64) for places in (firsts, seconds)]
    pairs = tf.bitwise.left_shift(pairs[0], SECOND_BITS) + pairs[1]
    found = tf.minimum(tf.searchsorted(table.pairs, pairs), tf.size(table.pairs) - 1)
    composes = tf.where(tf.gather(table.pairs, found) == pairs)[:, 0]
    seconds, firsts, found = (tf.gather(x, composes) for x in (seconds, firsts, found))
    # Only the first of each starter: one that is not after another of the same.
    is_first = tf.concat([tf.ones_like(firsts[:1], tf.bool), firsts[1:] != firsts[:-1]], 0)
    seconds, firsts, found = (x[is_first] for x in (seconds, firsts, found))
    composites = tf.gather(table.composites, found)
    codes = tf.tensor_scatter_nd_update(codes, firsts[:, tf.newaxis], composites)
    gone = tf.zeros_like(seconds, tf.bool)
    is_left = tf.tensor_scatter_nd_update(tf.ones_like(is_second), seconds[:, tf.newaxis], gone)
    return codes, tf.where(is_left)[:, 0]


def _words(codes, kinds, splits):
    """Joins the words of titles by blanks."""
    is_mark = kinds == MARK
    # A mark is of the kind of what it follows.
    bases = tf.boolean_mask(kinds, ~is_mark)
    kinds = tf.gather(bases, tf.cumsum(tf.cast(~is_mark, tf.int32)) - 1)
    is_kept = (kinds != SEPARATOR) & ~(is_mark & (kinds == PUNCTUATION))
    goes_on = is_mark | ((kinds == LETTER) & (tf.roll(kinds, 1, 0) == LETTER))
    written = tf.stack([is_kept & ~goes_on, is_kept], 1)
    blanks = tf.fill(tf.shape(codes), ord(" "))
    written_codes = tf.boolean_mask(tf.stack([blanks, codes], 1), written)
    counts = tf.reduce_sum(tf.cast(written, splits.dtype), 1)
    splits = tf.gather(tf.concat([[0], tf.cumsum(counts)], 0), splits)
    titles = tf.RaggedTensor.from_row_splits(written_codes, splits, validate=False)
    return tf.strings.unicode_encode(titles, "UTF-8")


def _records(table, codes):
    return tf.gather(table.records, tf.gather(table.pages, codes // PAGE) * PAGE + codes % PAGE)
