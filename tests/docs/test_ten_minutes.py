"""A stranger's ten minutes: what README and the site's how-to pages say, typed as it stands, leads to an answer.

`.ci/run` installs as README says into an empty environment; from there on a shell of its own runs every line, in an
empty folder, with an empty home. Nothing is typed that the pages do not have. The time is printed and not asserted.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from reader import blocks, commands, lines

import pairalign

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "howto" / f"{name}.md" for name in ("sensor", "recordings", "ship")]
"""In the order of the site's navigation, behind its start, which is README."""
MADE = {"shards": "recordings.jsonl", "abilities": "abilities.jsonl", "packs/glove": "export"} | {
    "runs/glove": "align",
    "runs/taught": "recompose",
}
"""A folder that commands name, and a word of the one that makes it."""


def makers(way: list[list[str]]) -> list[list[str]]:
    """The commands that make what others name, each once it is seen that nothing is named before it is made."""
    there, found = set[str](), []
    for words in (words for words in way if "--dry-run" not in words):
        made = {folder for folder, by in MADE.items() if by in words}
        assert set(words) & set(MADE) <= there | made, f"not there yet: {words}"
        there |= made
        found += [words] if made else []
    assert there == set(MADE)
    return found


def test_readme_and_the_how_to_pages_make_the_same_in_an_order_that_can_be_followed() -> None:
    begin = [words for line in lines(ROOT / "README.md", 1) for words in commands(line)]
    how_to = [words for page in PAGES for line in lines(page) for words in commands(line)]
    assert begin[:2] == how_to[:2]
    assert sorted(makers(begin)) == sorted(makers(how_to))


@dataclass
class Visit:
    """What came of it: the folder of the project, and what each line wrote to the screen."""

    folder: Path
    said: dict[str, str]
    seconds: float

    def after(self, *words: str) -> str:
        """What the last line with these words wrote."""
        return [text for line, text in self.said.items() if set(words) <= set(shlex.split(line, comments=True))][-1]


def unread(pages: list[Path]) -> Iterator[str]:
    """Every line of README's project, then those of the pages that say something else."""
    known: list[list[str]] = []
    for page in (ROOT / "README.md", *pages):
        for line in lines(page, 1 if page.name == "README.md" else None):
            if any(words not in known for words in commands(line)):
                known += commands(line)
                yield line


def stranger(home: Path) -> dict[str, str]:
    """The environment of someone who has just installed: the programs, a home, and no word of the repository."""
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "LANG", "TMPDIR")
    found = {name: os.environ[name] for name in names if name in os.environ}
    source = Path(pairalign.__file__).parents[1]
    if str(source) in os.environ.get("PYTHONPATH", "").split(os.pathsep):  # not installed: tested where it lies
        found["PYTHONPATH"] = os.pathsep.join([str(source), str(source.parent / "encoders")])
    programs = [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return found | {"HOME": str(home), "PATH": os.pathsep.join(programs)}


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    home, here = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("here")
    typed = [*unread(PAGES)]
    script = "\n".join(f"printf '\\x1e%s\\n' {number}\n{line}" for number, line in enumerate(typed))
    start = time.monotonic()
    done = subprocess.run(["bash", "-ec", script], cwd=here, env=stranger(home), capture_output=True, text=True)
    seconds = time.monotonic() - start
    said = dict(part.split("\n", 1) for part in done.stdout.split("\x1e")[1:])
    assert done.returncode == 0, f"{typed[len(said) - 1]}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return Visit(here / "glove", {line: said[str(number)] for number, line in enumerate(typed)}, seconds)


@pytest.mark.slow
def test_init_writes_what_it_says(visit: Visit, record_property: Callable[[str, object], None]) -> None:
    record_property("said", f"a stranger's {len(visit.said)} lines, from init to ask: {visit.seconds:.0f} s")
    wrote = re.findall(r"^wrote (.*)", visit.after("init"), re.MULTILINE)
    assert {"glove/glove.py", "glove/glove.yaml", "glove/teach.yaml", "glove/recordings.jsonl"} <= set(wrote)
    assert all((visit.folder.parent / name).is_file() for name in wrote)
    assert [path.name for path in visit.folder.parent.iterdir()] == ["glove"]


@pytest.mark.slow
def test_every_promise_of_the_encoder_is_kept(visit: Visit) -> None:
    assert re.search(r"^(\d+) of \1 promises kept", visit.after("check", "--pairs"), re.MULTILINE)


@pytest.mark.slow
def test_alignment_leaves_a_run_and_a_report_that_opens(visit: Visit) -> None:
    (run,) = re.findall(r"^run: (.*)", visit.after("align"), re.MULTILINE)
    assert {"config.yaml", "metrics.jsonl", "model.safetensors"} <= {
        path.name for path in (visit.folder / run).iterdir()
    }
    (page,) = re.findall(r"^report: (.*)", visit.after("evaluate"), re.MULTILINE)
    assert "glove" in (visit.folder / page).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_model_learns_loses_nothing_without_a_signal_and_answers(visit: Visit) -> None:
    taught = visit.after("recompose")
    assert "answer logits are the base's, bit for bit" in taught
    answered = visit.after("ask").strip().splitlines()[-1]
    assert answered in {"soft", "firm", "hard"}
    assert "f1" in visit.after("describe")


@pytest.mark.slow
def test_the_pack_is_used_in_python_as_the_page_says(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(visit.folder)
    (block,) = blocks(PAGES[-1], "python")
    exec(block, {"__name__": "ship"})
    assert capsys.readouterr().out.strip() == visit.after("ask").strip().splitlines()[-1]
