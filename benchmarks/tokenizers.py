"""Seconds that the tokenizers take for titles of several scripts.

Titles are made up, of 11 words on average, by Zipf's law; "marks apart" has its accents decomposed,
which is the slowest that titles can be spelt. The median of several rounds, in one process.
"""

from __future__ import annotations

import statistics
import time
import unicodedata

import made_up_data
import results_file
from results_file import show, table

from tfrs_npa.cli.messages import import_tensorflow

# Ten letters for the ten digits of a word's number, and what comes between two words.
SCRIPTS = {
    "ASCII": ("abcdefghij", " "),
    "Latin with accents": ("aéiöuñtrsl", " "),
    "Cyrillic": ("абвгдежзик", " "),
    "Arabic": ("ابتثجحخدذر", " "),
    "Devanagari": ("कखगिीुेो्म", " "),
    "Korean": ("가나다라마바사아자차", " "),
    "Chinese": ("新桥今日开通票价天气", ""),
}
CHUNK = 16_384


def main() -> None:
    parser = results_file.result_parser(__doc__)
    number = {"type": int, "metavar": "N", "help": "default: %(default)s"}
    parser.add_argument("--titles", default=100_000, **number)
    parser.add_argument("--rounds", default=5, **number)
    args = parser.parse_args()

    import_tensorflow()
    rows = []
    for script, titles in made_up_titles(args.titles).items():
        mind, others = (seconds(titles, name, args.rounds) for name in ("mind", "unicode"))
        rows.append([script, f"{mind:.2f}", f"{others:.2f}", f"{others / mind:.1f}"])
    headers = ["script", "mind, s", "unicode, s", "ratio"]
    result = table(f"{args.titles:,} titles", headers, rows)
    show(result)
    results_file.write(
        args.json, title="Tokenizers", about=results_file.about(__doc__), tables=[result]
    )


def made_up_titles(count: int) -> dict[str, list[str]]:
    """Returns titles by script."""
    numbers = made_up_data.news_columns(count)["title"]
    found = {}
    for script, (letters, between) in SCRIPTS.items():
        spelling = str.maketrans(
            dict(zip("0123456789", letters, strict=True)) | {"w": "", " ": between}
        )
        found[script] = [title.translate(spelling) for title in numbers]
    accents = found["Latin with accents"]
    found["the same, marks apart"] = [unicodedata.normalize("NFD", title) for title in accents]
    return found


def seconds(titles: list[str], tokenizer: str, rounds: int) -> float:
    """Returns the median time of splitting titles, a chunk at a time as the catalogue does."""
    import tensorflow as tf

    from tfrs_npa.data.tokenizers import tokenize

    chunks = [tf.constant(titles[i : i + CHUNK]) for i in range(0, len(titles), CHUNK)]
    tokenize(chunks[0], tokenizer)  # traces
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for chunk in chunks:
            tokenize(chunk, tokenizer)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


if __name__ == "__main__":
    main()
