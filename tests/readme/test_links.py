"""The documentation's links."""

from __future__ import annotations

from pathlib import Path

from pages import PAGES, ROOT, anchors, links

from for_each import for_each


@for_each("page", PAGES)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(target)
    assert lost == []


def test_the_readme_links_every_page_of_the_documentation() -> None:
    """The translated one those that are translated."""
    readmes = (ROOT / "README.md", ROOT / "README.zh-CN.md")
    linked = {(ROOT / target.partition("#")[0]).resolve() for page in readmes for target in links(page)}
    assert [str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md") if page not in linked] == []
