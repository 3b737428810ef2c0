"""The pages of settings have every field of every dataclass that a configuration is made of, with what it means."""

from __future__ import annotations

import dataclasses

import pytest

import site_settings


@pytest.mark.parametrize("page", site_settings.PAGES)
def test_every_setting_is_described_and_nothing_else_is(page: str) -> None:
    cls = site_settings.PAGES[page][2]
    for section in site_settings.sections(cls):
        told, names = site_settings.described(section), {field.name for field in dataclasses.fields(section)}
        assert {name for name in names if len(told.get(name, "")) < 8} == set(), section.__name__
        assert set(told) == names, section.__name__


def test_a_row_says_name_values_default_and_meaning() -> None:
    page = site_settings.page(*site_settings.PAGES["settings/align.md"])
    rows = {line.split(" | ")[0].strip("| `"): line for line in page.splitlines() if line.startswith("| `")}
    assert rows["scale"].startswith("| `scale` | > 0 | `14.3` | initial logit scale")
    assert rows["bad_fraction"].startswith("| `bad_fraction` | 0 to 1 | `0.01` |")
    assert rows["head"].startswith("| `head` | `anchor` or null or whole, 0 to 65536 | `null` |")
    assert rows["edges"].startswith("| `edges` | a list: [EdgeConfig](#edgeconfig) | **needed** |")
    assert rows["batch_size"].startswith("| `batch_size` | whole, ≥ 1 | `128` |")


def test_what_only_looks_like_an_element_is_shown() -> None:
    page = site_settings.page(*site_settings.PAGES["settings/recompose.md"])
    assert '"&lt;image>"' in page
