"""A run knows what it was made from: what differs is named, and nothing that no run wrote is ever moved or lost."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage_two import short_run, values

from conftest import vector_pairs
from pairalign.cli.main import main
from pairalign.core.config import AlignConfig
from pairalign.core.errors import IdentityError
from pairalign.data.pack import pack_pairs
from pairalign.finetune.run import load_recomposed
from pairalign.runs.folder import RunFolder

Settings = dict[str, Any]
PLUGIN = """
from torch import nn
from pairalign import Encoder, Features, Signal, register_encoder
from knit import WIDTH

@register_encoder("glove")
class Glove(Encoder):
    signal = Signal("vector", (6,), unit="N")
    def __init__(self):
        super().__init__(WIDTH)
        self.net = nn.Linear(6, WIDTH)
    def forward(self, batch):
        pooled = self.net(batch)
        return Features(pooled[:, None], pooled)
"""


def plugin(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "glove.py").write_text(PLUGIN)
    (folder / "knit.py").write_text("WIDTH = 8\n")
    return folder / "glove.py"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def command(
    align_settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """`pairalign align`, in `tmp_path`, with a plugin: exit code and everything it printed."""
    monkeypatch.chdir(tmp_path)
    align_settings["train"] |= {"steps": 2, "checkpoint_every": 0}
    align_settings["modalities"]["a"] = {"encoder": "glove"}
    (tmp_path / "align.yaml").write_text(yaml.safe_dump({**align_settings, "out": "run"}))
    plugin(tmp_path / "code")

    def run(*words: str, verb: str = "align", code: Path | None = tmp_path / "code" / "glove.py") -> tuple[int, str]:
        config = ["align.yaml"] if verb == "align" else []
        plugins = ["--plugin", str(code)] if code else []
        status = main([verb, *config, *words, *plugins, "--quiet"])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


Command = Callable[..., tuple[int, str]]


def test_a_finished_run_says_so_and_dates_its_figures(command: Command, tmp_path: Path) -> None:
    first, figures = command()
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    status, said = command()
    assert (first, status) == (0, 0)
    assert "nothing was trained" not in figures
    date = json.loads((tmp_path / "run" / "identity.json").read_text())["finished"][:16].replace("T", " ")
    assert f"finished {date}, nothing was trained" in said
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def edit_plugin(folder: Path) -> None:
    (folder / "code" / "glove.py").write_text(PLUGIN.replace("self.net(batch)", "self.net(batch) * 2"))


def edit_neighbour(folder: Path) -> None:
    (folder / "code" / "knit.py").write_text("WIDTH = 8  # as before\n")


def pack_anew(folder: Path) -> None:
    rows = [*vector_pairs(96, ("a", "b"), seed=7), *vector_pairs(32, ("a", "b"), seed=7, split="val")]
    units = {end: {"unit": "N"} for end in "ab"}
    pack_pairs(rows, folder / "shards" / "a-b", units=units, overwrite=True, progress=False)


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (edit_plugin, (), "plugin glove.py (was "),
        (edit_neighbour, (), "plugin glove.py (was "),
        (lambda folder: (folder / "code" / "glove.py").unlink(), (), "plugin glove.py (gone: name none, and the copy"),
        (pack_anew, (), "shards of edge a-b (was "),
        (lambda folder: shutil.rmtree(folder / "shards" / "a-b"), (), "shards of edge a-b (gone)"),
        (lambda _: None, ("train.lr=1e-5", "seed=4"), "differs in seed, train.lr"),
    ],
)
def test_a_finished_run_of_something_else_is_refused_and_says_what_differs(
    command: Command, tmp_path: Path, change: Callable[[Path], None], words: tuple[str, ...], said: str
) -> None:
    assert command()[0] == 0
    before = tree(tmp_path / "run")
    change(tmp_path)
    status, printed = command(*words)
    assert (status, tree(tmp_path / "run")) == (3, before)
    assert said in printed
    assert "choose another `out`, or pass --fresh" in printed


def test_the_same_data_elsewhere_are_the_same_run_and_other_data_are_not(command: Command, tmp_path: Path) -> None:
    assert command()[0] == 0
    shutil.copytree(tmp_path / "shards", tmp_path / "moved")
    assert "nothing was trained" in command(f"data.root={tmp_path / 'moved'}")[1]
    pack_anew(tmp_path)
    shutil.move(tmp_path / "shards", tmp_path / "others")
    status, printed = command(f"data.root={tmp_path / 'others'}")
    assert status == 3
    assert "shards of edge a-b (was" in printed


def test_a_resumed_run_refuses_other_data(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairalign.align.task import StageOne

    step = StageOne.training_step

    def dies(self: StageOne, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 2:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(StageOne, "training_step", dies)
        with pytest.raises(RuntimeError, match="killed"):
            command("train.checkpoint_every=1", "train.steps=3")
    assert (tmp_path / "run" / "last.ckpt").exists()
    pack_anew(tmp_path)
    status, printed = command("train.checkpoint_every=1", "train.steps=3")
    assert status == 3
    assert "shards of edge a-b (was" in printed


def test_fresh_in_the_project_moves_what_the_run_wrote_and_nothing_else(command: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "own.txt").write_text("mine")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "own.txt").write_text("mine")
    mine = tree(tmp_path)
    frozen = ("out=.", "modalities.b.tune=none")
    assert command(*frozen)[0] == 0
    written = {name: data for name, data in tree(tmp_path).items() if name not in mine}
    assert "plugins/glove/knit.py" in written
    assert any(name.startswith("cache/b-a-b-train-") for name in written)
    status, printed = command(*frozen, "--fresh", "seed=3")
    aside = tmp_path.with_name(f"{tmp_path.name}.old-1")
    assert status == 0, printed
    assert f"set aside in {aside}" in printed
    assert tree(aside) == {name: data for name, data in written.items() if name != ".lock"}
    now = tree(tmp_path)
    assert {name: now[name] for name in mine} == mine
    assert command(*frozen, "--fresh")[0] == 0
    assert tmp_path.with_name(f"{tmp_path.name}.old-2").is_dir()


def test_a_run_that_was_killed_before_it_took_note_of_its_plugin(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy that lies there is taken for what it is, and not for somebody else's."""
    with monkeypatch.context() as patch:
        patch.setattr("pairalign.runs.folder.write_json", lambda *given, **how: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            command()
    assert tree(tmp_path / "run" / "plugins").keys() == {"glove/glove.py", "glove/knit.py"}
    assert command()[0] == 0
    assert tree(tmp_path / "run" / "plugins").keys() == {"glove/glove.py", "glove/knit.py"}


class Killed(BaseException):
    """Nothing is done about it, as nothing is about a kill."""


@pytest.mark.parametrize(("moved", "words"), [(1, ()), (5, ("--fresh",)), (-1, ()), (0, ("--fresh",))])
def test_a_run_that_was_killed_while_it_was_set_aside(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int, words: tuple[str, ...]
) -> None:
    """The next command goes on with that, whether it says --fresh again or not: every file is in one OUT.old-1.

    moved: after how many files; 0: all of them, and the folder has not got its name yet; −1: all but one.
    """
    assert command()[0] == 0
    run, aside, move = tmp_path / "run", tmp_path / "run.old-1", shutil.move
    written = {name: data for name, data in tree(run).items() if name != ".lock"}
    left = [moved if moved > 0 else len(RunFolder(run, "align", AlignConfig).written()) + moved]

    def killing(source: Any, target: Any) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", killing)
        with pytest.raises(Killed):
            command("--fresh", "seed=3")
    assert not aside.exists()
    status, printed = command(*words, "seed=3")
    assert status == 0, printed
    assert f"set aside in {aside}" in printed
    assert tree(aside) == written
    assert sorted(path.name for path in tmp_path.glob("*run*")) == ["run", "run.old-1"]
    assert json.loads((run / "identity.json").read_text())["config"]["seed"] == 3


@pytest.mark.parametrize(
    "words",
    [
        ("train.stps=3",),
        ("data.train_split=trian",),
        ("edges.0.shards=nowhere",),
        ("modalities.a.options={size: 3}",),
        ("modalities.a.start=nowhere",),
    ],
)
def test_fresh_with_a_mistake_costs_nothing(command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert command()[0] == 0
    before = tree(tmp_path)
    assert command("--fresh", *words)[0] == 2
    assert tree(tmp_path) == before
    assert not (tmp_path / "run.old-1").exists()
    assert command("--fresh", code=tmp_path / "nowhere.py")[0] == 2
    assert tree(tmp_path) == before


@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
def test_a_folder_that_is_no_run_is_left_alone_and_refused_by_name(
    command: Command, tmp_path: Path, setup: Path, fresh: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for verb, name in (("align", "config.yaml"), ("recompose", "config.yaml"), ("align", "results.json")):
        project = tmp_path / f"{verb}-{name}"
        project.mkdir()
        (project / name).write_text("lr: 1\n")
        (project / "thesis.tex").write_text("mine")
        before = tree(project)
        if verb == "align":
            status, printed = command(f"out={project}", *fresh)
        else:
            (tmp_path / "two.yaml").write_text(yaml.safe_dump(values(setup, project)))
            status = main(["recompose", "two.yaml", *fresh, "--quiet"])
            printed = capsys.readouterr().err
        assert status == 2
        assert f"holds {name}, which no run wrote: choose another `out`" in printed
        assert {name: data for name, data in tree(project).items() if name != ".lock"} == before
        assert not project.with_name(f"{project.name}.old-1").exists()
    assert command()[0] == 0
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(values(setup, tmp_path / "run")))
    assert main(["recompose", "two.yaml", *fresh, "--quiet"]) == 2
    assert "is a run of `pairalign align`: choose another `out`" in capsys.readouterr().err


def test_two_runs_at_once_in_one_folder(command: Command, tmp_path: Path) -> None:
    import subprocess
    import sys

    holder = (
        "import sys, time\nfrom pathlib import Path\nfrom pairalign.runs.lock import hold\n"
        "with hold(Path('run/.lock'), 'x'):\n    print('held', flush=True); time.sleep(60)\n"
    )
    (tmp_path / "run").mkdir()
    with subprocess.Popen([sys.executable, "-c", holder], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        status, printed = command()
        other.kill()
    assert status == 2
    assert f"out='run': another run is at work there (process {other.pid}): wait for it" in printed
    assert command()[0] == 0  # the lock died with its holder


def test_a_run_holds_its_folder_in_its_own_process_too(command: Command, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", "align", AlignConfig).held():
        status, printed = command()
    assert status == 2
    assert "another run is at work there" in printed
    assert not (tmp_path / "run").exists()  # nothing was begun


def test_a_run_of_an_earlier_version_is_told_by_its_configuration(command: Command, tmp_path: Path) -> None:
    assert command()[0] == 0
    (tmp_path / "run" / "identity.json").unlink()
    shutil.rmtree(tmp_path / "run" / "plugins")
    status, printed = command()
    assert status == 0, printed
    assert "nothing was trained" in printed
    assert "kept no hashes: only its configuration is compared" in printed
    assert command("seed=3")[0] == 3
    assert command("seed=3", "--fresh")[0] == 0
    assert (tmp_path / "run.old-1" / "model.safetensors").exists()


def test_a_moved_run_keeps_its_plugin_and_its_neighbour(command: Command, tmp_path: Path) -> None:
    assert command()[0] == 0
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "code")
    before = tree(tmp_path / "elsewhere")
    words = ("elsewhere", "--pairs", str(tmp_path / "shards" / "a-b"), "--split", "val")
    status, printed = command(*words, "--out", str(tmp_path / "report"), verb="evaluate", code=None)
    assert status == 0, printed
    assert tree(tmp_path / "elsewhere") == before
    shutil.move(tmp_path / "elsewhere", tmp_path / "run")
    assert "nothing was trained" in command(code=None)[1]


def test_a_plugin_edited_after_training_is_refused_until_it_is_named(command: Command, tmp_path: Path) -> None:
    assert command()[0] == 0
    edit_plugin(tmp_path)
    words = ("run", "--pairs", str(tmp_path / "shards" / "a-b"), "--split", "val")
    status, printed = command(*words, verb="evaluate", code=None)
    assert status == 3
    assert "glove.py' was edited after run 'run' was trained: pass --plugin" in printed
    status, printed = command(*words, verb="evaluate", code=tmp_path / "run" / "plugins" / "glove" / "glove.py")
    assert (status, "is not what run" in printed) == (0, False)


def test_a_plugin_that_is_named_is_taken_and_said(command: Command, tmp_path: Path) -> None:
    assert command()[0] == 0
    edit_neighbour(tmp_path)
    words = ("run", "--pairs", str(tmp_path / "shards" / "a-b"), "--split", "val")
    status, printed = command(*words, verb="evaluate")
    assert status == 0, printed
    assert "glove.py' is not what run 'run' was trained with" in printed


def test_an_evaluation_that_cannot_be_written_says_so_before_it_measures(command: Command, tmp_path: Path) -> None:
    assert command()[0] == 0
    (tmp_path / "run" / "evaluation").write_text("a file")
    words = ("run", "--pairs", str(tmp_path / "shards" / "a-b"), "--split", "val")
    status, printed = command(*words, verb="evaluate")
    assert status == 2
    assert "evaluation' cannot be written" in printed
    assert "give --out" in printed


def test_stage_two_knows_its_base_its_sensors_and_its_data(setup: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("base", "lessons", "demo/run"):
        shutil.copytree(setup / name, home / name)
    run = short_run(home, tmp_path / "run")
    assert run.finished is None
    again = short_run(home, tmp_path / "run")
    assert again.finished is not None
    assert again.results == run.results
    for name, said in (
        ("base/model.safetensors", r"differs in base \(was"),
        ("demo/run/model.safetensors", r"differs in stage-one run of touch \(was"),
    ):
        path = home / name
        data = path.read_bytes()
        path.write_bytes(data[:-4] + b"\0\0\1\0")
        with pytest.raises(IdentityError, match=said):
            short_run(home, tmp_path / "run")
        path.write_bytes(data)
    shutil.rmtree(home / "lessons" / "touch_pairs")
    with pytest.raises(IdentityError, match=r"shards of tasks.pairs \(gone\)"):
        short_run(home, tmp_path / "run")


def test_stage_two_takes_a_corrected_configuration_and_fresh_moves_only_its_files(setup: Path, tmp_path: Path) -> None:
    from pairalign.core.errors import PairalignError

    tasks = {"touch": {**values(setup, tmp_path)["tasks"]["touch"], "prompt": "{touch} {qestion}"}}
    with pytest.raises(PairalignError, match="qestion"):
        short_run(setup, tmp_path / "run", tasks=tasks)
    run = short_run(setup, tmp_path / "run")
    (run.folder / "notes.txt").write_text("mine")
    (run.folder / "dormant" / "own.txt").write_text("mine")
    written = tree(run.folder)
    with pytest.raises(PairalignError, match="qestion"):
        short_run(setup, tmp_path / "run", fresh=True, tasks=tasks)
    assert tree(run.folder) == written
    short_run(setup, tmp_path / "run", fresh=True, seed=2)
    aside = tree(tmp_path / "run.old-1")
    assert set(written) - set(aside) == {"notes.txt", "dormant/own.txt", ".lock"}
    assert (run.folder / "notes.txt").read_text() == "mine"
    assert load_recomposed(tmp_path / "run.old-1").results == run.results


def test_a_finished_run_drops_what_only_resuming_needs_and_says_so(command: Command, tmp_path: Path) -> None:
    few = ("train.checkpoint_every=1", "train.steps=3", "train.keep_checkpoint=false")
    status, printed = command(*few)
    assert status == 0
    assert re.search(r"last.ckpt \(\d+\.\d MB\), which only an interrupted run goes on from, was removed", printed)
    assert not (tmp_path / "run" / "last.ckpt").exists()
    assert (tmp_path / "run" / "model.safetensors").exists()
    record = tmp_path / "run" / "identity.json"  # killed before the checkpoint went: the next command ends it
    told = {key: value for key, value in json.loads(record.read_text()).items() if key != "finished"}
    record.write_text(json.dumps(told))
    (tmp_path / "run" / "last.ckpt").write_bytes(b"left")
    assert command(*few)[0] == 0
    assert not (tmp_path / "run" / "last.ckpt").exists()
    assert "finished" in json.loads(record.read_text())
    status, printed = command(*few[:2], "train.keep_checkpoint=true")  # no other run
    assert (status, "nothing was trained" in printed) == (0, True)
    status, printed = command("train.checkpoint_every=1", "train.steps=5")
    assert (status, "differs in train.steps" in printed) == (3, True)
    assert command(*few[:2], "train.keep_checkpoint=true", "--fresh")[0] == 0
    assert (tmp_path / "run" / "last.ckpt").exists()
