"""A translated page has what its original has: headings, blocks and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import ROOT, blocks, links

TRANSLATIONS = sorted([*ROOT.glob("*.zh-CN.md"), *(ROOT / "docs").rglob("*.zh-CN.md")])


def original(page: Path) -> Path:
    return page.with_name(page.name.replace(".zh-CN", ""))


def outline(page: Path) -> list[str]:
    """The headings' levels and numbers, the bullets, and what is set as code, in order."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+(?: \d+\.)?|^- ", text, re.MULTILINE)


def code_in(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`([^`]+)`", text))


@pytest.mark.parametrize("page", TRANSLATIONS, ids=lambda page: page.name)
def test_a_translation_is_in_step_with_its_original(page: Path) -> None:
    there = original(page)
    assert outline(page) == outline(there)
    assert blocks(page) == blocks(there)
    assert code_in(page) == code_in(there)


@pytest.mark.parametrize("page", TRANSLATIONS, ids=lambda page: page.name)
def test_a_translation_leads_where_its_original_does(page: Path) -> None:
    there = original(page)
    assert there.name in links(page)
    assert page.name in links(there)
    ours = [target.replace(".zh-CN", "") for target in links(page) if target != there.name]
    assert ours == [target for target in links(there) if target != page.name]


def test_the_readme_and_the_start_are_translated() -> None:
    assert [page.name for page in TRANSLATIONS] == ["README.zh-CN.md", "start.zh-CN.md"]
