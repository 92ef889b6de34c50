"""A report as one HTML page, without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tfrs_npa.explaining.report import Candidate, Reader, Report, Title, WithoutClick, Word

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

# Contributions that are shown with their titles.
_LARGEST = 3
# Effects of words, by the greatest of a title, from which on they are shown.
_LEAST_LINE = 0.3


class Piece(NamedTuple):
    """Part of a title.

    Attributes:
        text: The part.
        word: The word that it is; None: it is not read.
        shade: How dark it is, from 0 to 1: its attention weight, by the greatest of the title.
        line: How strong the line under it is, from 0 to 1: its effect, by the greatest of the
            title; 0 where that is small.
    """

    text: str
    word: Word | None
    shade: float = 0.0
    line: float = 0.0


class Share(NamedTuple):
    """What a click adds to a score: `click` is its place among the reader's."""

    click: int
    value: float


class Rest(NamedTuple):
    """What all other clicks add to a score together."""

    number: int
    value: float


class Change(NamedTuple):
    """A candidate, and what becomes of it without a click."""

    candidate: Candidate
    without: WithoutClick


def page(report: Report) -> str:
    """Returns a report as an HTML page.

    It needs no network. Scripts are confined by a policy in its head to the one that is part of
    it, and text from the data is escaped: a title cannot become a part of the page.

    Args:
        report: The report.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("tfrs_npa.explaining", ".")
    environment = Environment(autoescape=True, loader=loader, undefined=StrictUndefined)
    filters = (pieces, heaviest, largest, others, largest_share, most_changed, without_json)
    environment.filters |= {function.__name__: function for function in filters}
    style, script = (_source(environment, name) for name in ("page.css", "page.js"))
    digest = hashlib.sha256(f"\n{script}\n".encode()).digest()
    script_hash = f"sha256-{base64.b64encode(digest).decode()}"
    return environment.get_template("page.html.jinja").render(
        report=report, style=style, script=script, script_hash=script_hash
    )


def _source(environment: Environment, name: str) -> Markup:
    """Returns a file of this package as text that is not escaped: it is ours."""
    from markupsafe import Markup

    loader = environment.loader
    source = "" if loader is None else loader.get_source(environment, name)[0]
    return Markup(source.rstrip("\n"))  # noqa: S704 - the style and the script of this package, no data


def pieces(article: Title) -> Iterator[Piece]:
    """Yields the parts of a title in order: words that are read, and what is between them."""
    words = article.words
    most = max((word.weight for word in words), default=0) or 1
    effects = [word.effect or 0.0 for word in words]
    strongest = max(map(abs, effects), default=0) or 1
    end = 0
    for word, effect in zip(words, effects):
        start, stop = word.start, word.end
        if start is None or stop is None:
            start, stop, text = end, end, word.text + " "
        else:
            text = article.title[start:stop]
        if start > end:
            yield Piece(article.title[end:start], None)
        # Squared: weights that differ by a third should look different.
        shade = round((word.weight / most) ** 2, 3)
        line = abs(effect) / strongest
        yield Piece(text, word, shade, round(line, 3) if line >= _LEAST_LINE else 0.0)
        end = stop
    if end and end < len(article.title):
        yield Piece(article.title[end:], None)
    if not words and article.title:
        yield Piece(article.title, None)


def heaviest(reader: Reader) -> float:
    """Returns the greatest weight of a click."""
    return max(click.weight for click in reader.clicks)


def largest(candidate: Candidate) -> list[Share]:
    """Returns the contributions that are shown one by one, the largest first."""
    shares = [Share(click, value) for click, value in enumerate(candidate.contributions)]
    return sorted(shares, key=lambda share: -abs(share.value))[:_LARGEST]


def others(candidate: Candidate) -> Rest:
    """Returns what the clicks add that `largest` leaves out."""
    shown = largest(candidate)
    value = sum(candidate.contributions) - sum(share.value for share in shown)
    return Rest(len(candidate.contributions) - len(shown), value)


def largest_share(reader: Reader) -> float:
    """Returns the largest size of a contribution to the best articles, above 0."""
    return max(abs(value) for shown in reader.best for value in shown.contributions) or 1.0


def most_changed(reader: Reader, click: int) -> Change:
    """Returns which of the best articles has another score without a click, the most so."""
    changes = [Change(candidate, candidate.without[click]) for candidate in reader.best]
    return max(changes, key=lambda change: abs(change.without.score - change.candidate.score))


def without_json(candidate: Candidate) -> str:
    """Returns scores and ranks without each click, as the script of the page reads them."""
    rows = [[round(without.score, 4), without.rank] for without in candidate.without]
    return json.dumps(rows, separators=(",", ":"))
