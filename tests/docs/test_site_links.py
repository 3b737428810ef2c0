"""Links of the repository's pages lead somewhere on the site, and its navigation names every page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import site_reference
import site_settings
from site_links import origins, rewrite

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "written", "shown"),
    [
        ("papers.md", "[R](../bench/RESULTS.md#on-a-gpu)", "[R](results.md#on-a-gpu)"),
        ("results.md", "![l](../docs/front.png)", "![l](front.png)"),
        ("index.md", '<img src="docs/report.png">', '<img src="report.png">'),
        ("index.md", "| `notebooks/06`, `docs/packs.md` |", "| [`notebooks/06`](NB), [`docs/packs.md`](packs.md) |"),
        ("security.md", "[docs/files.md](docs/files.md)", "[docs/files.md](files.md)"),
        ("packs.md", "[a script](../bench/front.py)", "`a script`"),
        ("packs.md", "[gone](nowhere.md), [web](https://x.org/y.md)", "[gone](nowhere.md), [web](https://x.org/y.md)"),
        ("packs.md", "```sh\ncat `docs/runs.md` [a](../bench/front.py)\n```\n", None),
    ],
)
def test_a_link_leads_to_where_the_page_is_on_the_site(page: str, written: str, shown: str | None) -> None:
    notebook = "notebooks/06_a_real_language_model.ipynb"
    assert rewrite(written, page, origins(ROOT), ROOT) == (shown or written).replace("NB", notebook)


def pages_of(nav: Any) -> Iterator[str]:
    for entry in nav if isinstance(nav, list) else nav.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from pages_of(entry)


def test_the_navigation_names_every_page_once() -> None:
    nav = yaml.safe_load("nav:" + (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2])["nav"]
    written = [name for name in origins(ROOT) if name.endswith((".md", ".ipynb"))]
    assert sorted(pages_of(nav)) == sorted([*written, *site_settings.PAGES, *site_reference.PAGES])
