"""What error messages quote of input, of which nobody knows how long it is."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

LONGEST_MESSAGE = 500
"""Characters of an error message on the command line."""
_LONGEST, _LONGEST_REASON = 60, 200
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _LONGEST
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 8
_REPR.maxlevel = 3


def quoted(value: object) -> str:
    """Returns the `repr` of a value, at most 60 characters of it; the others are three dots.

    Long values are cut before they are formatted, so that this takes no time and memory of note.

    >>> quoted("N1" * 10**6)
    "'N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1N1..."
    """
    is_whole = True
    if isinstance(value, str | bytes):
        text, is_whole = repr(value[:_LONGEST]), len(value) <= _LONGEST
    else:
        try:
            text = _REPR.repr(value)
        except ValueError:  # of an integer with thousands of digits
            text = f"{type(value).__name__} that is too long to show"
    return text if is_whole and len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Returns a text with three dots in the place of its middle, if it is longer than `longest`.

    >>> shortened("abcdefghij", 9)
    'abc...hij'
    """
    if len(text) <= longest:
        return text
    end = (longest - 3) // 2
    return f"{text[: longest - 3 - end]}...{text[-end:]}"


def reason_of(error: object) -> str:
    """Returns what an error, or a text, says, on one line and in at most 200 characters.

    An error that says nothing is named by its type.

    >>> reason_of(ValueError())
    'ValueError'
    """
    return shortened(" ".join(str(error).split()) or type(error).__name__, _LONGEST_REASON)


def listed(names: Iterable[object], longest: int = 6) -> str:
    """Returns the first names of many as a list in words: `a, b, c and 7 more`."""
    texts = list(map(str, names))
    shown = ", ".join(shortened(text, _LONGEST // 2) for text in texts[:longest])
    return f"{shown} and {len(texts) - longest:,} more" if len(texts) > longest else shown


def did_you_mean(found: object, names: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name: the closest known one, if one is close.

    >>> did_you_mean("mn", ["min", "max"])
    "; did you mean 'min'?"
    """
    if not isinstance(found, str):
        return ""
    close = difflib.get_close_matches(found[:_LONGEST], names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
