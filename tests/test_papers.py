"""docs/papers.md: every claim has a command or the reason why it has none, and every command runs as it stands there.

Commands run in the order of the page, in a folder that looks like one where `pairalign demo --fast --out demo` has run;
behind each stands what makes it tiny. Those of recipes and of the demo run in the tests that `ELSEWHERE` names.

Note:
    That a command runs says nothing of the figures beside it; those are in bench/RESULTS.md.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stage_two import short_run
from tiny_recipes import behind, pack_questions, tiny_stage_two

import pairalign as pa
from lmms_eval_log import ai2d, write_results
from pairalign.cli.main import main
from pairalign.data.pack import pack_pairs
from pairalign.data.world import World, pairs
from pairalign.evaluate.abilities.__main__ import main as abilities

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "papers.md"
COMMAND = re.compile(r"`((?:pairalign|python) [^`]*)`")
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
NUMBER = re.compile(r"\d+(?:,\d{3})+|\d*\.?\d+(?:e-?\d+)?")
ELSEWHERE = {"pairalign demo --fast --out demo": "demo/test_demo.py"}
SMALL: dict[str, list[str]] = {  # behind commands that begin so, the longest beginning of each; recipes have `TINY`
    "pairalign evaluate": ["--quiet"],
    "pairalign ablate": ["--quiet", "train.steps=1"],
    "pairalign translate": ["--quiet"],
    "pairalign plan": [],
    "pairalign score BASE": ["--quiet", "--count", "4"],
    "pairalign score BASE --method dowser": ["--quiet", "--option", "prompts=2", "--option", "length=8"],
    "pairalign score BASE --method dowser --calibration": ["--quiet", "--count", "4", "--option", "probes=1"],
    "pairalign describe": ["--quiet", "--limit", "3", "--tokens", "2"],
    "pairalign export": [],
    "python -m pairalign.evaluate.abilities": [],
    "python bench/identifiability.py": ["--seeds", "1", "--steps", "2", "--variants", "full"],
    "python bench/identical.py": ["--families", "llava"],
    "python bench/front.py": ["--base", "BASE", "--steps", "1", "--seeds", "1", "--arms", "SA-proj", "rows .1, random"],
    "python bench/sequence.py": shlex.split("--base BASE --steps 1 --train 8 --held 3 --seeds 1 --arms SA-proj"),
}

ROOM = {"probe.own": "train.measure_tokens=2", "train.rehearse": "train.batch_size=4"}  # less would be refused


@dataclass(frozen=True)
class Row:
    """One claim of a paper."""

    paper: str
    claim: str
    commands: tuple[str, ...]
    measured: str
    differs: str


def rows() -> list[Row]:
    found, paper = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        paper = line.removeprefix("## ") if line.startswith("## ") else paper
        if line.startswith("| ") and not line.startswith("| claim "):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 5, f"{len(cells)} cells: {line[:80]}"
            found.append(Row(paper, cells[0], tuple(COMMAND.findall(cells[2])), cells[3], cells[4]))
    return found


ROWS = rows()
COMMANDS = list(dict.fromkeys(command for row in ROWS for command in row.commands))
RECIPES = {
    path.read_text().splitlines()[0].partition("     ")[0].removeprefix("# ")
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name in ("configs", "recompose")
}
HERE = [command for command in COMMANDS if command not in RECIPES and command not in ELSEWHERE]


def test_every_claim_has_a_command_or_the_reason_why_it_has_none() -> None:
    assert len({row.paper for row in ROWS}) == 5
    for row in ROWS:
        assert row.commands or row.differs.startswith("not here: "), row.claim
        assert row.measured, row.claim
        assert LINK.search(row.measured) or "not measured" in row.measured.lower() or row.measured == "–", row.claim
    for command, file in ELSEWHERE.items():
        assert f'"{command}"' in (ROOT / "tests" / file).read_text()


def slug(heading: str) -> str:
    """As GitHub makes anchors of headings."""
    return re.sub(r"[^\w -]", "", heading.strip("# ").lower()).replace(" ", "-")


def told(page: str, anchor: str | None) -> str:
    """The text behind a link."""
    text = (PAGE.parent / page).resolve().read_text(encoding="utf-8")
    if not anchor:
        return text
    parts = re.split(r"^(?=#+ )", text, flags=re.MULTILINE)
    return next(part for part in parts if part and slug(part.splitlines()[0]) == anchor)


def numbers(text: str) -> set[float]:
    return {abs(float(number.replace(",", ""))) for number in NUMBER.findall(text)}


def test_every_figure_stands_where_its_row_leads() -> None:
    for row in ROWS:
        links = LINK.findall(row.measured)
        behind_links = set().union(*(numbers(told(page, anchor)) for page, anchor in links), {2.0, 3.0, 8.0, 95.0})
        plain = re.sub(r"\(?\[[^\]]*\]\([^)]*\)\)?|`[^`]*`", "", row.measured)
        missing = numbers(plain) - behind_links
        assert not missing, f"{row.claim}: {sorted(missing)}"
    for page, anchor in LINK.findall(PAGE.read_text(encoding="utf-8")):
        assert told(page, anchor)


@pytest.fixture(scope="module")
def world(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's folder after `pairalign demo`, as far as commands look at it; parts of it are those of `setup`."""
    folder = tmp_path_factory.mktemp("papers")
    for name, place in (("configs", ROOT / "configs"), ("BASE", setup / "base"), ("DATA", setup)):
        (folder / name).symlink_to(place)
    (folder / "demo" / "pairs").mkdir(parents=True)
    (folder / "demo" / "lessons").symlink_to(setup / "lessons")
    for edge in ("image-touch", "text-points", "pool"):
        (folder / "demo" / "pairs" / edge).symlink_to(setup / "demo" / "pairs" / edge)
    pack_pairs(pairs(World(seed=0), ("image", "text"), 96), folder / "demo" / "pairs" / "image-text", progress=False)
    shutil.copytree(setup / "demo" / "run", folder / "demo" / "run")
    World(seed=1).sample(0, None, ("touch",))["touch"].save(folder / "demo" / "touch.png")
    train = {"steps": 1, "batch_size": 4, "accelerator": "cpu"}
    run = short_run(setup, folder / "demo" / "stage_two" / "dormant", train=train, calibration_size=4)
    pa.export_pack(run.folder, folder / "demo" / "pack")
    write_results(folder / "eval" / "base", "BASE", ai2d([1.0] * 4))
    write_results(folder / "eval" / "merged", "packs/touch/merged", ai2d([1.0, 1.0, 1.0, 0.0]))
    pack_questions(folder / "questions")
    return folder


class Here(Executor):
    """What is submitted runs at once, in this process."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def run_script(name: str, words: list[str], patch: pytest.MonkeyPatch) -> int:
    """`python bench/NAME.py …` in this process, with few questions and one rate."""
    bench = importlib.import_module(name)
    if name == "front":
        runs = importlib.import_module("fronts.runs")
        patch.setattr(runs, "SIZES", {task: 8 * bool(count) for task, count in runs.SIZES.items()})
        patch.setattr(runs, "HELD", dict.fromkeys(runs.HELD, 4))
        patch.setattr(runs, "ProcessPoolExecutor", Here)
        arms = importlib.import_module("fronts.arms")
        patch.setattr(arms, "RATES", arms.RATES[:1])
    if name == "sequence":
        patch.setattr(bench, "SKILLS", dict(list(bench.SKILLS.items())[:2]))
    patch.setattr(sys, "argv", [name, *words])
    try:
        bench.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def run_recipe(words: list[str], setup: Path, world: Path, number: int) -> int:
    """A recipe with settings of the command line behind it, as the recipes' own test runs it."""
    name = Path(words[1]).stem
    tiny = tiny_stage_two(name, setup, world / "questions", world / "runs" / str(number))
    more = [word for part, word in ROOM.items() if any(given.startswith(part) for given in words)]
    return main([*behind([*words, *more], tiny), "--quiet"])


@pytest.mark.slow
@pytest.mark.parametrize("command", HERE)
def test_it_runs(
    command: str, setup: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    words = shlex.split(command)
    recipe = len(words) > 2 and words[2].startswith("configs/recompose/")
    if words[0] == "pairalign" and recipe and words[1] != "plan":
        code = run_recipe(words[1:], setup, world, HERE.index(command))
        assert code in ((0, 4) if "max_forgetting" in command else (0,)), capsys.readouterr().err
        return
    begins = [begin for begin in SMALL if command.startswith(begin)]
    assert begins, f"{command}: say in SMALL how it is made small"
    small = SMALL[max(begins, key=len)]
    if words[:2] == ["python", "-m"]:
        code = abilities(words[3:])
    elif words[0] == "python":
        code = run_script(Path(words[1]).stem, [*words[2:], *small], monkeypatch)
    else:
        code = main([*words[1:], *small])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out.strip()
