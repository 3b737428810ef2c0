"""A second command that writes where a first one is at work: refused in one line, nothing of the first's touched."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from forked import fork_command, forked
from occupied import HOLDER, held
from stage_two import TOUCH, short_run, values
from undisturbed import differences

from pairalign.align.run import align_pairs
from pairalign.core.config import AlignConfig, load_config
from pairalign.data.pack import pack_pairs

Settings = dict[str, Any]


def assert_refused(home: Path, words: list[str], out: str) -> None:
    """A command ends at once while another process holds its `out`, which keeps all that is in it; and runs after."""
    (home / out).parent.mkdir(parents=True, exist_ok=True)
    with held(home / out) as process:
        before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
        assert forked(home, words) == 2
        after = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.name != "log"}
    said = (home / "log").read_text().splitlines()
    mine = [line for line in said if line.startswith("pairalign: ")]
    assert mine == [
        f"pairalign: out='{out}': another run is at work there (process {process}): wait for it, or choose another "
        "`out`."
    ], said
    assert {path for path in after} == {path for path in before if path.name != "log"}
    assert all(after[path] == before[path] for path in after if path != home)
    assert forked(home, words) == 0, (home / "log").read_text()
    assert not list(home.rglob("*.lock"))


def test_a_second_run_of_either_stage_changes_nothing(align_settings: Settings, setup: Path, tmp_path: Path) -> None:
    """Its configuration, plugins and settings are another's; what the first wrote stays, with `--fresh` too."""
    home = tmp_path / "home"
    align_settings["train"] |= {"steps": 2, "validate_every": 0}
    (tmp_path / "align.yaml").write_text(yaml.safe_dump({**align_settings, "out": "run"}))
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({**values(setup, tmp_path), "out": "run"}))
    first = ["align", str(tmp_path / "align.yaml"), "--quiet"]
    assert forked(home, first) == 0
    code = HOLDER.replace("alone(sys.argv[1])", "hold(Path(sys.argv[1]) / '.lock', 'x')")
    with held(home / "run", code.replace("import alone", "import hold\nfrom pathlib import Path")):
        before = {path: path.stat().st_mtime_ns for path in (home / "run").rglob("*")}
        for words in ([*first, "seed=3"], [*first, "--fresh", "seed=3"], ["recompose", str(tmp_path / "two.yaml")]):
            assert forked(home, words) == 2
        assert {path: path.stat().st_mtime_ns for path in (home / "run").rglob("*")} == before
    assert (home / "log").read_text().count("out='run': another run is at work there (process ") == 3
    assert sorted(path.name for path in home.iterdir()) == ["log", "run"]
    assert forked(home, first) == 0


def manifest(folder: Path) -> Path:
    folder.mkdir()
    lines = [{"key": f"k{n}", "force": np.arange(n, n + 6.0).tolist(), "text": f"push {n}"} for n in range(12)]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "m.jsonl"


def test_pack_and_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["data", "pack", str(manifest(tmp_path / "from")), "deep/shards", "--quiet"]
    assert_refused(tmp_path / "home", words, "deep/shards")
    from pairalign.demo import run as demo

    monkeypatch.setattr(demo, "make_world", lambda *args, **options: pytest.fail("it has begun"))
    (tmp_path / "other").mkdir()
    with held(tmp_path / "other" / "demo"):
        assert forked(tmp_path / "other", ["demo", "--fast", "--quiet"]) == 2
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [".demo.lock", "log"]  # its holder's


def test_convert(tmp_path: Path) -> None:
    from miniature import recordings

    recordings(tmp_path / "data", 2, 4, (24, 32))
    words = ["data", "convert", "touch-and-go", str(tmp_path / "data"), "-o", "shards", "--quiet"]
    assert_refused(tmp_path / "home", words, "shards")


def test_index(tmp_path: Path) -> None:
    pack_pairs(manifest(tmp_path / "from"), tmp_path / "home" / "shards", progress=False)
    (tmp_path / "home" / "shards" / "index.json").unlink()
    assert_refused(tmp_path / "home", ["data", "index", "shards", "--quiet"], "shards")
    assert_refused(tmp_path / "other", ["data", "index", str(tmp_path / "home/shards"), "--out", "i", "--quiet"], "i")


def test_evaluate(align_settings: Settings, pair_folder: Path, tmp_path: Path) -> None:
    align_settings["train"] |= {"steps": 1, "validate_every": 0}
    align_pairs(load_config(AlignConfig, align_settings), progress=False)
    words = ["evaluate", align_settings["out"], "--pairs", str(pair_folder / "a-b"), "--split", "val", "--limit", "8"]
    assert_refused(tmp_path / "home", [*words, "--out", "found", "--quiet"], "found")


def test_score_export_and_describe(setup: Path, tmp_path: Path) -> None:
    words = ["score", str(setup / "base"), "--method", "magnitude", "--out", "deep/scores", "--quiet"]
    assert_refused(tmp_path / "score", words, "deep/scores")
    taught = short_run(setup, tmp_path / "taught", method="bridge", train={"steps": 1, "accelerator": "cpu"})
    assert_refused(tmp_path / "export", ["export", str(taught.folder), "pack"], "pack")
    (tmp_path / "words").write_text("hard\nsoft\nsmooth\nrough\nsmall\nlarge\nred\nblue\ncube\nball")
    asked = ["--pairs", str(setup / "lessons" / "touch"), "--split", "val", "--prompt", TOUCH["prompt"]]
    sized = ["--tokens", "2", "--limit", "12", "--vocabulary", str(tmp_path / "words"), "--reference", "{answer}"]
    words = ["describe", str(taught.folder), *asked, *sized, "--out", "said", "--quiet"]
    assert_refused(tmp_path / "describe", words, "said")


def test_two_runs_fill_one_cache_at_once(align_settings: Settings, tmp_path: Path) -> None:
    """Both succeed, with one set of caches, and no lock is left."""

    align_settings["modalities"]["b"]["tune"] = "none"
    align_settings["train"] |= {"steps": 2, "validate_every": 0}
    told = {**align_settings, "out": "run", "cache": str(tmp_path / "cache")}
    (tmp_path / "align.yaml").write_text(yaml.safe_dump(told))
    words = ["align", str(tmp_path / "align.yaml"), "--quiet"]
    children = [fork_command(tmp_path / name, words) for name in ("one", "other")]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert differences(tmp_path / "one", tmp_path / "other", but=("log",)) == []
    assert len(list((tmp_path / "cache").iterdir())) == 4  # training and validation of a–b and b–c
