#!/usr/bin/env python3
"""Follows the local links of a generated documentation, and fails where one leads nowhere.

Begins at the front page of the crate and reads every page that can be reached from there inside the
crate's own folder: pages that an older build left behind are no part of it. Pages of other crates,
styles and scripts only have to exist.

    tests/tools/doc_links.py target/doc/tidings/index.html
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# `tracing` implements a trait for every type, and the documentation of that trait, which stands on
# each page of ours, has a link that is right on its own pages only.
FOREIGN = {"dispatcher"}


class Links(HTMLParser):
    """The targets of a page's links, without those that leave for another host."""

    def __init__(self, page):
        super().__init__()
        self.targets = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, _tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                url = urlsplit(value)
                if not url.scheme and not url.netloc and url.path:
                    self.targets.add(unquote(url.path))


def main():
    front = Path(sys.argv[1]).resolve()
    if not front.is_file():
        sys.exit(f"doc_links: {front} isn't there")
    waiting, seen, dead, links = [front], {front}, [], 0
    while waiting:
        page = waiting.pop()
        for target in sorted(Links(page).targets - FOREIGN):
            links += 1
            path = (page.parent / target).resolve()
            if path.is_dir():
                path /= "index.html"
            if not path.is_file():
                dead.append(f"{page.relative_to(front.parent)} links to {target}")
            elif path not in seen and path.suffix == ".html" and front.parent in path.parents:
                seen.add(path)
                waiting.append(path)
    if dead:
        sys.exit("\n".join(["doc_links: these links lead nowhere:", *dead]))
    print(f"{len(seen)} pages, {links} links")


main()
