"""What the project says of itself in several files is the same everywhere, and names files that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import pairalign

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_version_and_licence_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    assert (
        PROJECT["version"] == citation["version"] == pairalign.__version__ == re.findall(r"version += {(.*)}", page)[0]
    )
    assert PROJECT["license"] == citation["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_files_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`([\w./-]+)`", text) if "/" in name and "SENSOR" not in name]
    places = [ROOT, ROOT / "src" / "pairalign"]
    assert len(named) > 15
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_hooks_run_what_is_installed_and_forms_ask_for_the_environment() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert {hook["entry"].split()[0] for hook in repository["hooks"]} == {"ruff", "mypy"}
    forms = {
        path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")
    }
    asked = {part["id"]: part for part in forms["bug"]["body"]}
    assert "pairalign env" in asked["env"]["attributes"]["label"]
    assert asked["env"]["validations"]["required"]
