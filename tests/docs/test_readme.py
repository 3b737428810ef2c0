"""What README states is so: paths, commands, options, settings, versions, the loss, and the code that it shows."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from reader import blocks
from recompose_models import tiny_llama, token_batches

import pairalign as pa
from pairalign.align import contrastive, minimal, partial, reconstruct
from pairalign.cli.main import _parse, build_parser
from pairalign.core.config import LossConfig, load_config
from pairalign.core.exits import EXITS, NOTHING_LEARNED
from pairalign.finetune.config import RecomposeConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8")
WHOLE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = WHOLE["project"]
SPANS = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", README)


def test_every_file_that_it_names_is_there() -> None:
    named = [span for span in SPANS if re.fullmatch(r"[\w.*-]*/[\w./*-]*|\d\d", span)]
    assert len(named) > 40
    for name in named:
        name = f"notebooks/{name}" if name.isdigit() else name
        places = (ROOT, ROOT / "src" / "pairalign")
        assert any([*place.glob(name), *place.glob(f"{name}_*.ipynb")] for place in places), name


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings
        for one in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from options(one)


def test_every_verb_and_option_that_it_names_is_one() -> None:
    known = set(options(build_parser()))
    told = re.findall(r"(?<![\w-])--[a-z][\w-]*", README.replace("|--", " --"))
    assert set(told) - known - {"--glove"} == set()
    for words in (shlex.split(span)[1:] for span in SPANS if span.startswith("pairalign ")):
        if words[-1] == "--help" or len(words) == 1:  # a verb alone
            words = [word for word in words if word != "--help"] + ["--help"]
            with pytest.raises(SystemExit, match="0"):
                _parse(words)
        else:
            _parse(words)
    for module in re.findall(r"`python -m (pairalign[\w.]+)`", README):
        assert importlib.util.find_spec(module)


def test_the_devices_and_the_exit_code_are_these() -> None:
    (said,) = re.findall(r"`--device ([^`]+)`", README)
    (action,) = (one for one in leaf("align")._actions if "--device" in one.option_strings)
    assert set(said.split("|")) == {"auto", "cpu", "cuda[:n]", "mps"}
    assert all(word.partition("[")[0] in str(action.help) for word in said.split("|"))
    (code,) = re.findall(r"exit (\d+): nothing within the bound", README)
    assert int(code) == NOTHING_LEARNED
    assert "within `max_forgetting`" in EXITS[NOTHING_LEARNED]


def test_in_python_loading_stays_on_the_cpu_and_runs_no_code_of_a_base() -> None:
    for load in (pa.load_aligned, pa.load_recomposed, pa.load_sensor_model):
        given = inspect.signature(load).parameters
        assert given["device"].default == "cpu"
        assert not getattr(given["loading"].default if "loading" in given else None, "trust_remote_code", False)
        assert "trust_remote_code" not in given or given["trust_remote_code"].default is False


def leaf(verb: str) -> argparse.ArgumentParser:
    (verbs,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    found: argparse.ArgumentParser = verbs.choices[verb]
    return found


def test_the_configuration_of_stage_two_is_one_that_loads() -> None:
    (block,) = blocks(ROOT / "README.md", "yaml")
    config = load_config(RecomposeConfig, yaml.safe_load(block))
    assert (config.dormant.structure, config.dormant.density) == ("rows", 0.1)
    assert vars(config.max_forgetting) == {"without_signal": 0, "with_signal": 15}


def test_the_engine_works_alone_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"model": tiny_llama(), "batches": token_batches()}
    before = {name: value.clone() for name, value in names["model"].state_dict().items()}
    exec(blocks(ROOT / "README.md", "python")[1], names)
    assert (tmp_path / "delta" / "dormant_model.safetensors").is_file()
    after = names["plain"].state_dict()
    assert {name: value.equal(after[name]) for name, value in before.items()} == dict.fromkeys(before, True)


def test_the_adapter_for_peft_is_where_it_says() -> None:
    (name, home) = re.findall(r"get_peft_model\(model, (\w+)\(dormant, batches\)\)`, from `([\w.]+)`", README)[0]
    tree = ast.parse((ROOT / "src" / Path(*home.split("."))).with_suffix(".py").read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_versions_licence_extras_and_the_command_are_those_of_the_package() -> None:
    python, torch, torchao = re.findall(
        r"Python ≥ ([\d.]+), torch ≥ ([\d.]+) \([^()]*`torchao==([\d.]+)\.\*`[^()]*\)\. (?:[\w.-]+)\.", README
    )[0]
    assert PROJECT["requires-python"] == f">={python}"
    assert f"torch>={torch}" in PROJECT["dependencies"]
    oldest = (ROOT / ".ci" / "torch28.txt").read_text(encoding="utf-8").split()
    assert {f"torch=={torch}.0", f"torchao=={torchao}.0"} <= set(oldest)
    assert f"torchao>={torchao}" in PROJECT["optional-dependencies"]["quant"]
    assert f" {PROJECT['license']}. " in README
    extras = set(re.findall(r"(?:pairalign|-e '?\.)\[(\w+)\]", README))
    assert extras == {"test", "docs", "peft"} <= set(PROJECT["optional-dependencies"])
    assert PROJECT["scripts"]["pairalign"] == "pairalign.cli.main:main"
    assert "not slow" in WHOLE["tool"]["pytest"]["ini_options"]["addopts"]


def test_what_it_says_to_install_and_run_runs_on_a_fresh_machine() -> None:
    """In `.ci/run`, which installs into an empty environment; what follows is in `test_ten_minutes.py`."""
    check = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (installed,) = re.findall(r"pip install -q -e '\.\[([\w,]+)\]'", check)
    begin = blocks(ROOT / "README.md", "sh")[0]
    told = re.findall(r"pip install -e '\.\[(\w+)\]' && (\w+)", README)
    assert "pip install -e . && pairalign demo" in begin
    assert dict(told) == {"test": "pytest", "docs": "mkdocs"}
    assert {extra for extra, _ in told} <= set(installed.split(","))
    for run in ('/pairalign" demo', "pytest\n", "pytest -m slow", '/mkdocs" build --strict'):
        assert run in check, run


TERMS = {
    "λ_rec": ("reconstruct", reconstruct),
    "λ_con": ("contrast", contrastive),
    "λ_norm": ("minimal", minimal),
    "λ_gate": ("gate", partial),
}
"""Where each weight of the formula is set, and the module of its term."""


def test_the_formula_has_the_terms_of_stage_one_each_with_its_source() -> None:
    (formula,) = re.findall(r"^    (λ_rec.*)$", README, re.MULTILINE)
    assert re.findall(r"λ_\w+", formula) == [*TERMS]
    for setting, module in TERMS.values():
        assert setting in LossConfig.__dataclass_fields__
        assert re.search(r"^Sources?: ", str(module.__doc__), re.MULTILINE), module
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|\(\w+.* \d{4}", str(module.__doc__)), module
    assert LossConfig().false_negatives == "mask"


def test_the_time_of_the_demo_was_measured() -> None:
    (minutes,) = re.findall(r"pairalign demo .*in (\w+) minutes", README)
    (seconds,) = re.findall(r"^`pairalign demo`.*The whole command took (\d+) s", RESULTS, re.MULTILINE)
    assert {"eight": 480}[minutes] >= int(seconds)
