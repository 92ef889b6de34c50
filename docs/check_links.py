"""Checks the links of a built site: each file and each anchor that a page names is there.

python docs/check_links.py build/docs
"""

from __future__ import annotations

import functools
import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.anchors = {"", "top"}
        self.links: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Collects the attributes that count."""
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.links.add(value or "")


page = functools.cache(Page)


def broken(folder: pathlib.Path) -> list[str]:
    """Returns `page: link` for each link that leads nowhere."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        for link in sorted(page(path).links):
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            name = urllib.parse.unquote(parts.path)
            target = (path.parent / name).resolve() if name else path
            is_there = target.is_file()
            if is_there and parts.fragment and target.suffix == ".html":
                is_there = urllib.parse.unquote(parts.fragment) in page(target).anchors
            if not is_there:
                found.append(f"{path.relative_to(folder)}: {link}")
    return found


def main() -> int:
    """Prints what is broken; returns the exit code."""
    folder = pathlib.Path(sys.argv[1]).resolve()
    pages = len(list(folder.rglob("*.html")))
    found = broken(folder)
    print(*found, f"{pages} pages, {len(found)} broken links", sep="\n")
    return int(bool(found) or not pages)


if __name__ == "__main__":
    sys.exit(main())
