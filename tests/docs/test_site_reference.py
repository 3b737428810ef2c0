"""The reference: every public name has a page, its docstring names every parameter, and its examples run."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import pairalign
import site_reference
from pairalign.core.schema import entries

EXAMPLES = {"Encoder", "Features", "PairGraph", "Signal", "create_encoder", "get_dormant_model", "load_config"}
EXAMPLES |= {"pack_pairs", "read_signal"}


def test_every_public_name_is_on_one_page() -> None:
    pages = [site_reference.page(group) for group in site_reference.GROUPS]
    for name, home in pairalign._HOME.items():
        assert sum(f"::: {home}.{name}\n" in page for page in pages) == 1, name
    assert site_reference.group_of("PairGraph") == "align"  # of the nearest part, not of data as a whole


def callables(name: str) -> Iterator[tuple[str, Any, str]]:
    """A public name, and the public methods that its class has by itself, with what documents each."""
    value = getattr(pairalign, name)
    if not inspect.isclass(value):
        yield name, value, value.__doc__ or ""
        return
    if "__init__" in vars(value) or hasattr(value, "_fields"):
        yield name, value, (value.__doc__ or "") + (value.__init__.__doc__ or "")
    for method, part in vars(value).items():
        function = part.__func__ if isinstance(part, classmethod | staticmethod) else part
        if not method.startswith("_") and inspect.isfunction(function):
            yield f"{name}.{method}", getattr(value, method), inspect.getdoc(function) or ""


@pytest.mark.parametrize("name", [name for name in pairalign.__all__ if name != "__version__"])
def test_every_parameter_is_described(name: str) -> None:
    for title, function, text in callables(name):
        assert text.strip(), title
        try:
            given = set(inspect.signature(function).parameters) - {"self"}
        except ValueError:  # of a builtin, such as Exception's
            continue
        assert given <= set(entries(text) | entries(text, "Attributes")), title
        if not inspect.isclass(function) and "." not in title:
            returns = function.__annotations__.get("return") not in (None, "None")
            assert ("\nReturns:\n" in inspect.cleandoc(text)) == returns, title


def test_the_examples_run() -> None:
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    run = set()
    for name in pairalign.__all__:
        for test in finder.find(getattr(pairalign, name), name, globs={}) if name != "__version__" else ():
            if test.examples:
                failed = runner.run(test)
                run.add(name)
                assert failed.failed == 0, name
    assert run >= EXAMPLES
