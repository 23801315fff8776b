"""docs/sources.md has a section for each source, and its configurations can be copied."""

from __future__ import annotations

import re
from pathlib import Path

from provider_testing import SOURCES, chat

from chatq.contract.config_file import load_settings
from chatq.contract.sources import KEY_PAGES
from chatq_worker.providers import ADAPTERS
from for_each import for_each

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")


def section(source: str) -> str:
    return PAGE.partition(f"\n## {source}\n")[2].partition("\n## ")[0]


def test_every_source_has_its_section_in_the_order_of_the_interface() -> None:
    assert tuple(re.findall(r"^## (\w+)$", PAGE, flags=re.MULTILINE)) == SOURCES


@for_each("source", SOURCES)
def test_the_configuration_of_a_section_is_one_of_that_source(source: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(section(source).partition("```yaml\n")[2].partition("```")[0], "utf-8")

    (connection,) = load_settings(config, environ={}).connections.values()

    assert connection.source == source
    prepared = ADAPTERS[source].request(chat(source, model=connection.model or ""), connection, None)
    assert prepared.warnings == []


@for_each("source", [source for source in SOURCES if source != "custom"])
def test_a_section_says_where_the_key_comes_from_as_the_commands_do(source: str) -> None:
    page = re.search(r"^Key: <https://(?:www\.)?([^/>]+)[^>]*>\.", section(source), flags=re.MULTILINE)
    assert page is not None
    assert KEY_PAGES[source].startswith(f"{page[1]}, ")


def test_every_source_has_a_page_where_its_keys_are_made() -> None:
    assert tuple(KEY_PAGES) == SOURCES
