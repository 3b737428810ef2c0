"""`--json`: one document on stdout and nothing else there; `--quiet`: neither bars nor notices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import pairalign
from conftest import small_alignment
from pairalign.align.run import read_metrics
from pairalign.cli import encoders
from pairalign.cli.answer import answer
from pairalign.cli.main import main


def document(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    """What a quiet command prints, which is JSON and nothing else anywhere."""
    assert main([*map(str, words), "--json", "--quiet"]) == code
    told = capsys.readouterr()
    assert told.err == ""
    return json.loads(told.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    rows = [{"force": [i, 1.5, -i], "text": f"push {i}", "split": "train" if i < 6 else "val"} for i in range(8)]
    (folder / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert main(["data", "pack", str(folder / "m.jsonl"), str(folder / "shards"), "--quiet"]) == 0
    return folder


def test_what_others_print_meanwhile_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: Any) -> int:
        print("loading …")
        answer(args, {"a": float("inf"), "from": "https://me:secret@host/x?token=1"}, "text")
        print("closing …")
        return 0

    monkeypatch.setattr(encoders, "_ls", run)
    assert main(["encoders", "ls", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {"a": None, "from": "https://***@host/x?token=***"}
    assert told.err == "loading …\nclosing …\n"
    assert main(["encoders", "ls"]) == 0
    assert capsys.readouterr().out == "loading …\ntext\nclosing …\n"
    assert document(capsys, "encoders", "ls")["a"] is None


def test_an_error_prints_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "show", "nothing", "--json", "--quiet"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("pairalign: encoder 'nothing' is not registered")


def test_encoders_and_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert document(capsys, "encoders", "ls")["encoders"]["series"] == "pairalign_series:Series (package pairalign)"
    shown = document(capsys, "encoders", "show", "tiny_vector", "size=4")
    assert (shown["signal"]["shape"], shown["options"]["size"]) == ([4], "6")
    checked = document(capsys, "encoders", "check", "tiny_vector", code=1)  # it has no card
    assert checked["broken"] == sum(not promise["kept"] for promise in checked["promises"]) > 0
    assert document(capsys, "encoders", "new", "glove") == {"wrote": ["glove.py", "test_glove.py"]}
    made = document(capsys, "init", "grip")
    assert made["folder"] == "grip"
    assert all(Path(path).is_file() for path in made["wrote"])


def test_data(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, folder = shards / "m.jsonl", shards / "shards"
    packed = document(capsys, "data", "pack", manifest, tmp_path / "again")
    assert {name: one["samples"] for name, one in packed["splits"].items()} == {"train": 6, "val": 2}
    assert "first 8 rows:" in document(capsys, "data", "pack", manifest, tmp_path / "never", "--dry-run")["preview"]
    (tmp_path / "again" / "index.json").unlink()
    indexed = document(capsys, "data", "index", tmp_path / "again")
    assert (indexed["samples"], indexed["damaged"]) == ({"force": 8, "text": 8}, [])
    seen = document(capsys, "data", "inspect", folder, "--out", tmp_path / "sheet.png", "--samples", "1")
    assert seen["modalities"]["force"]["highest"] == 7
    assert seen["modalities"]["text"]["lowest"] is None
    found = document(capsys, "data", "audit", folder, "--check", "blank")
    assert found["counts"] == {"train": 6, "val": 2}
    both = document(capsys, "data", "audit", folder, "--check", "blank", tmp_path / "again", "--limit", "4")
    assert [Path(one["folder"]).name for one in both[:2]] == ["shards", "again"]


def test_a_run(packed_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(small_alignment(packed_pairs, tmp_path / "run")))
    assert main(["plan", str(config), "--json"]) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)["trained"], told.err) == (["a-b", "b-c"], "device: cpu\n")
    done = document(capsys, "align", config)
    assert (done["run"], done["finished"]) == (str(tmp_path / "run"), None)
    last = {name: value for line in read_metrics(tmp_path / "run") for name, value in line.items()}
    assert done["metrics"] == {name: value for name, value in last.items() if name != "step"}
    measured = document(capsys, "evaluate", tmp_path / "run", "--pairs", packed_pairs / "a-b", "--split", "val")
    assert measured["pools"] == json.loads(Path(measured["files"]["metrics"]).read_text())["pools"]


def test_what_is_written_between_bars_is_on_stderr() -> None:
    """tqdm draws its bars there by itself, and writes lines to stdout unless it is told otherwise."""
    sources = Path(pairalign.__file__).parent.rglob("*.py")
    lines = [
        line for path in sources for line in path.read_text(encoding="utf-8").splitlines() if "tqdm.write(" in line
    ]
    assert lines
    assert [line for line in lines if "file=sys.stderr" not in line] == []
