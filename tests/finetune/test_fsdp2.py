"""Stage two with its language model shared out among two real processes is the run of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsdp_worker
import pytest
import torch
from ranks import GLOO_AVERAGES, in_ranks, meeting
from safetensors.torch import load_file
from stage_two import IMAGE, TOUCH, killed, settings, values

import pairalign as pa
from pairalign.cli.main import main
from pairalign.core.config import AlignConfig, load_config
from pairalign.core.errors import CheckpointError, ConfigError, IdentityError
from pairalign.demo.base import build_base, build_processor
from pairalign.dormant.checkpoint import CONFIG, WEIGHTS
from pairalign.dormant.significance import load_scores
from pairalign.finetune.collator import Collator
from pairalign.finetune.config import RecomposeConfig, TaskConfig
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.run import load_recomposed, recompose_mllm
from pairalign.finetune.tasks import Task
from pairalign.sensors.processor import load_base

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not GLOO_AVERAGES, reason="this torch adds gradients up over gloo, and runs are refused"),
]
WORLD = 2
MEMORY = Path(__file__).parents[1] / "support" / "fsdp_memory.py"
TRAIN = {"steps": 2, "batch_size": 8, "accumulate": 2, "warmup": 1, "lr": 1e-3, "accelerator": "cpu", "clip": 0.5}
TRAIN |= {"validate_every": 1, "measure_tokens": 2}
SIGNALS = {"measure_with_signals": True}


def shared_run(setup: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """The settings of one process's share of `whole_run`."""
    train = {**TRAIN, **changes.pop("train", {})}
    train = {**train, "batch_size": train["batch_size"] // WORLD, "strategy": "fsdp2"}
    return values(setup, out, train=train, **changes)


def whole_run(setup: Path, out: Path, **changes: Any) -> None:
    """The same run in this process."""
    train = {**TRAIN, **changes.pop("train", {})}
    recompose_mllm(settings(setup, out, train=train, **changes), progress=False)


def run_all(folder: Path, runs: list[dict[str, Any]], fails: bool = False) -> str:
    """What the processes that do these runs say; see fsdp_worker.py."""
    (folder / "runs.json").write_text(json.dumps(runs))
    codes, said = in_ranks(lambda rank: fsdp_worker.main(folder / "runs.json"), folder, WORLD)
    assert all(bool(code) == fails for code in codes), said
    return said


def figures(folder: Path) -> dict[str, float]:
    """Every loss, accuracy and drift that a run measured, by name and step, and the losses of its training steps."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {f"{name} at {line['step']}": value for line in lines for name, value in line.items() if name != "step"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        found |= {f"{file.name}: {name}": tensor for name, tensor in load_file(file).items()}
    return found


def assert_same_run(found: Path, wanted: Path) -> None:
    assert figures(found) == pytest.approx(figures(wanted), abs=5e-6)
    assert_same_weights(weights(found), weights(wanted))


def assert_same_weights(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """To 1e-6; but AdamW divides a gradient that is next to nothing by itself, rounding and all: few, and near."""
    assert found.keys() == wanted.keys()
    assert len(found) > 3
    for name, value in wanted.items():
        apart = (found[name].float() - value.float()).abs() / value.float().abs().clamp_min(1.0)
        assert float((apart > 1e-6).float().mean()) < 2e-3, name
        assert float(apart.max()) < 2e-5, name


FEW = {"held_out": {"image": {**IMAGE, "split": "val", "limit": 6}}, "calibration_size": 8}
REHEARSE = {"rehearse": {"share": 0.1}}  # one of the two processes rehearses, and the other does not
FAST: dict[str, dict[str, Any]] = {
    "rows": {"dormant": {"score": "splash", "structure": "rows", "density": 0.25}, "train": SIGNALS},
    "full": {
        "method": "full",
        "validation": {},
        "held_out": {},
        "tasks": {"touch": TOUCH, "image": {**IMAGE, "limit": 3}},  # a few pictures, again and again
        "train": {"pull_back": 0.5, "vision_memory": 0.1},
    },
    "rehearsed": {
        "dormant": {"score": "random", "structure": "rows", "density": 0.25},
        "validation": {"touch": {**TOUCH, "split": "val", "limit": 6}},
        "train": {**REHEARSE, "pull_back": "auto", "lr": 0.01, "measure_tokens": 0, "vision_memory": 0.1},
        **FEW,
    },
}


def killed_and_resumed(setup: Path, folder: Path, name: str, changes: dict[str, Any]) -> list[dict[str, Any]]:
    """A run in `name` whole that leaves what a kill would have left at its checkpoint, and the one that goes on from
    there, which may not ask the base anything."""
    train = {**changes.get("train", {}), "checkpoint_every": 1}
    whole = shared_run(setup, folder / f"{name} whole", **{**changes, "train": train})
    at = folder / f"{name} resumed"
    return [{**whole, "leaves": str(at)}, {**whole, "out": str(at), "knows": True}]


ARMS: dict[str, dict[str, Any]] = {
    "first": {"dormant": {"score": "splash", "structure": "rows", "density": 0.25}},
    "columns": {"dormant": {"score": "splash", "structure": "columns", "density": 0.25}},
    "full": {"method": "full"},
    "whole": {"dormant": {"score": "splash", "structure": "rows", "density": 0.25}, "strategy": "auto"},
}


def cached(setup: Path, folder: Path) -> list[dict[str, Any]]:
    """Arms that share a cache: the first scores and measures, the others are told; the last keeps its base whole."""
    runs = []
    for name, changes in ARMS.items():
        train = {"steps": 1, "strategy": changes.get("strategy", "fsdp2")}
        run = shared_run(setup, folder / f"arm {name}", cache=str(folder / "cache"), train={"steps": 1}, **changes)
        run.pop("strategy", None)
        runs.append({**run, "train": {**run["train"], **train}, "knows": name != "first"})
    return runs


@pytest.fixture(scope="module")
def fast(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    runs = [shared_run(setup, folder / name, **changes) for name, changes in FAST.items()]
    run_all(folder, [*runs, *killed_and_resumed(setup, folder, "killed", FAST["rows"]), *cached(setup, folder)])
    return folder


@pytest.mark.parametrize("name", FAST)
def test_two_processes_are_one(setup: Path, fast: Path, tmp_path: Path, name: str) -> None:
    whole_run(setup, tmp_path / name, **FAST[name])
    assert_same_run(fast / name, tmp_path / name)
    assert (results(fast / name)["pull_back"] or {}).get("share") == {"full": 0.5, "rehearsed": 0.1}.get(name)
    assert ("train/rehearse at 2" in figures(fast / name)) == (name == "rehearsed")
    if name == "rows":
        receipts = [json.loads((folder / name / "receipt.json").read_text()) for folder in (fast, tmp_path)]
        assert receipts[0] == receipts[1]
        assert receipts[0]["clean"]
        assert receipts[0]["tensors"] > 40


def test_each_process_reads_a_picture_once_and_waits_for_none_that_does_not(fast: Path) -> None:
    """That the run is equal stands above; of what is rehearsed, one of the two processes reads no picture at all."""
    told = [json.loads((fast / "full" / f"seen-{rank}.json").read_text()) for rank in range(WORLD)]
    assert all(0 < seen["asked"] < seen["shown"] for seen in told)


def assert_nothing_of_a_kill_shows(folder: Path, name: str) -> None:
    run, whole = folder / f"{name} resumed", folder / f"{name} whole"
    assert not (run / "chosen").exists()
    assert figures(run) == figures(whole)
    found, wanted = weights(run), weights(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[part], wanted[part]) for part in wanted)
    records = [json.loads((at / "dormant" / CONFIG).read_text()) for at in (run, whole)]
    assert records[0] == records[1]
    assert (run / "results.json").read_text() == (whole / "results.json").read_text()


def test_a_resumed_run_asks_the_base_nothing_and_is_the_undisturbed_one(fast: Path) -> None:
    assert_nothing_of_a_kill_shows(fast, "killed")


def test_all_processes_are_told_what_another_run_scored_and_measured(fast: Path) -> None:
    first, *others = (results(fast / f"arm {name}") for name in ARMS)
    assert first["base_from"] == {}
    files = sorted((fast / "cache").iterdir())
    assert [path.name.partition("-")[0] for path in files] == ["base", "base", "splash"]
    for arm in others:
        assert arm["base"] == first["base"]
        assert arm["history"][0] == first["history"][0]
        assert sorted(found["from"] for found in arm["base_from"].values()) == [str(path) for path in files[:2]]
    shared, alone = (load_file(fast / f"arm {name}" / "dormant" / WEIGHTS) for name in ("first", "whole"))
    assert all(alone[name].equal(value) for name, value in shared.items() if name.endswith(".index"))
    records = [json.loads((fast / f"arm {name}" / "dormant" / CONFIG).read_text()) for name in ("first", "whole")]
    assert records[0]["origin"] == records[1]["origin"]
    assert records[0]["origin"]["scores"]["method"] == "splash"


def test_what_was_trained_in_parts_answers_in_one_process(fast: Path) -> None:
    run = load_recomposed(fast / "rows")
    assert run.results["after"]["validation"]["touch"]["loss"] > 0


SLOW: dict[str, dict[str, Any]] = {
    **{
        name: {"dormant": {"score": score, "structure": name, "density": 0.25}}
        for name, score in (("columns", "wanda"), ("weights", "magnitude"), ("matrices", "random"))
    },
    "directions": {
        "dormant": {"score": "splash", "structure": "directions", "density": 0.25},
        "train": {"pull_back": 0.5},
    },
    "bridge": {"method": "bridge"},
    "lora": {"method": "lora", "options": {"rank": 4}, "train": {**SIGNALS, **REHEARSE, "pull_back": 0.5}},
    "checkpointed": {"train": {"gradient_checkpointing": True}},
    "tied": {"base": "tied", "method": "full", "train": SIGNALS},
    "gated": {"method": "full", "train": {"lr": 2e-3, "steps": 3}, "max_forgetting": 0.0},
}


HALF: dict[str, Any] = {
    "dtype": "bfloat16",
    "dormant": {"score": "splash", "structure": "rows", "density": 0.25},
    "train": {"lr": 5e-3, "checkpoint_every": 1},
}


HALVES = {"half": HALF, "half full": {"method": "full", "dtype": "bfloat16", "validation": {}, "held_out": {}}}


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.fixture(scope="module")
def tied(setup: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with one matrix for its first and its last layer."""
    folder = tmp_path_factory.mktemp("tied")
    model, processor = load_base(str(setup / "base"))
    model.config.text_config.tie_word_embeddings = model.config.tie_word_embeddings = True
    model.tie_weights()
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def slow(setup: Path, tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    runs = []
    for name, changes in SLOW.items():
        base = {"base": str(tied)} if changes.get("base") == "tied" else {}
        runs.append(shared_run(setup, folder / name, **{**changes, **base}))
    for name, changes in CHOSEN.items():
        runs += killed_and_resumed(setup, folder, f"killed {name}", changes)
    run_all(folder, [*runs, *(shared_run(setup, folder / name, **told) for name, told in HALVES.items())])
    return folder


@pytest.mark.parametrize("name", SLOW)
def test_two_processes_are_one_whatever_is_trained(
    setup: Path, tied: Path, slow: Path, tmp_path: Path, name: str
) -> None:
    base = {"base": str(tied)} if SLOW[name].get("base") == "tied" else {}
    whole_run(setup, tmp_path / name, **{**SLOW[name], **base})
    assert_same_run(slow / name, tmp_path / name)
    again = load_recomposed(slow / name)
    assert again.results["history"] == results(slow / name)["history"]


CHOSEN: dict[str, dict[str, Any]] = {
    "entries": {"dormant": {"score": "magnitude", "structure": "weights", "density": 0.05}},
    "columns": {"dormant": {"score": "wanda", "structure": "columns", "density": 0.25}, "dtype": "bfloat16"},
    "directions": {"dormant": {"score": "splash", "structure": "directions", "density": 0.25}},
}


@pytest.mark.parametrize("name", CHOSEN)
def test_whatever_was_chosen_a_resumed_run_takes_it(slow: Path, name: str) -> None:
    assert_nothing_of_a_kill_shows(slow, f"killed {name}")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_of_one_process_is_not_taken_up_by_two(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shared_run(setup, tmp_path / "run", train={"steps": 2, "checkpoint_every": 1})
    with killed(1):
        recompose_mllm(load_config(RecomposeConfig, run), progress=False)
    before = content(tmp_path / "run")
    said = run_all(tmp_path, [{**run, "knows": True}], fails=True)
    assert "was written by 1 processes, now there are 2: resume with as many, or pass --fresh." in said
    assert content(tmp_path / "run").keys() - {".lock"} == before.keys() - {".lock"}


def test_a_shared_out_run_that_died_goes_on_as_one_process_would_have(setup: Path, tmp_path: Path) -> None:
    changes = {"method": "full", "max_forgetting": 50.0, "train": {"steps": 3, "checkpoint_every": 1}}
    run = shared_run(setup, tmp_path / "run", **changes)
    run_all(tmp_path, [{**run, "dies_at": 2}], fails=True)
    assert not (tmp_path / "run" / "results.json").exists()
    before = content(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"^checkpoint '.*' was written by 2 processes, now there are 1: resume"):
        recompose_mllm(load_config(RecomposeConfig, run), progress=False)
    other = {**run, "train": {**run["train"], "strategy": "auto"}}
    with pytest.raises(IdentityError, match=r"differs in train.strategy: "):
        recompose_mllm(load_config(RecomposeConfig, other), progress=False)
    assert content(tmp_path / "run").items() >= {**before, ".lock": b""}.items()
    run_all(tmp_path, [run])
    whole_run(setup, tmp_path / "whole", **changes)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    one, two = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "run"))
    assert_same_weights(two["state_dict"], one["state_dict"])  # whole tensors: either can be read by either


def test_full_tuning_of_a_base_in_bfloat16_loses_no_step_by_rounding(setup: Path, slow: Path, tmp_path: Path) -> None:
    """Masters are shared out with their weights. Gradients are summed in another order, so the two runs are near."""
    whole_run(setup, tmp_path / "whole", **HALVES["half full"])
    runs = {name: load_file(folder / "trained.safetensors") for name, folder in
            (("shared", slow / "half full"), ("whole", tmp_path / "whole"))}  # fmt: skip
    base, _ = load_base(str(setup / "base"), dtype="bfloat16")
    start = dict(base.named_parameters())
    moved = {name: sum(float((found[key].float() - start[key].detach().float()).norm() ** 2) for key in found)
             for name, found in runs.items()}  # fmt: skip
    assert runs["shared"].keys() == runs["whole"].keys()
    assert moved["whole"] > 0
    assert moved["shared"] == pytest.approx(moved["whole"], rel=0.02)


def test_a_base_in_bfloat16_trains_values_in_float32(setup: Path, slow: Path, tmp_path: Path) -> None:
    """Rounded activations depend on how many are multiplied at once, so that two processes are near to one, not it."""
    whole_run(setup, tmp_path / "half", **HALF)
    losses = [[line["validation/touch/loss"] for line in results(at / "half")["history"]] for at in (slow, tmp_path)]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
    assert losses[0][-1] < losses[0][0]
    receipts = [json.loads((at / "half" / "receipt.json").read_text()) for at in (slow, tmp_path)]
    assert receipts[0] == receipts[1]
    assert receipts[0]["clean"]
    kept = weights(slow / "half" / "dormant")
    assert {tensor.dtype for name, tensor in kept.items() if name.endswith(".values")} == {torch.bfloat16}
    saved = torch.load(slow / "half" / "last.ckpt", weights_only=True)["state_dict"]
    assert {tensor.dtype for name, tensor in saved.items() if ".updates." in name} == {torch.float32}


def test_the_command_starts_both_processes_and_its_run_exports(setup: Path, tmp_path: Path) -> None:
    """With scores that need the whole base, written before."""
    told = values(setup, tmp_path / "run", train={**TRAIN, "batch_size": 4, "strategy": "fsdp2", "devices": 2})
    calibration = ["--calibration", str(setup / "lessons" / "image"), "--prompt", "{image} {question}"]
    scores = ["--method", "fisher", "--answer", "{answer}", "--count", "4", "--out", str(tmp_path / "scores")]
    assert main(["score", str(setup / "base"), *calibration, *scores, "--quiet", "--device", "cpu"]) == 0
    told |= {"scores": str(tmp_path / "scores"), "dormant": {"score": "fisher", "structure": "weights"}}
    (tmp_path / "config.yaml").write_text(json.dumps(told))
    command = [sys.executable, "-m", "pairalign", "recompose", str(tmp_path / "config.yaml"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validation/touch" in done.stdout
    run = load_recomposed(tmp_path / "run")
    assert load_scores(tmp_path / "scores").about["method"] == run.model.llm.origins["touch"]["scores"]["method"]
    pack = pa.export_pack(run, tmp_path / "pack")
    model, _ = pa.load_sensor_model(str(setup / "base"), [pack])
    task = Task("touch", TaskConfig(**TOUCH), str(setup), ["touch"])
    batch = Collator(run.processor)(list(task.read())[:6])
    with torch.no_grad():
        wanted, found = (answer_logits(one, batch)[0] for one in (run.model, model))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def measured(folder: Path) -> list[str]:
    """What each process of fsdp_memory.py says; they are started, since a fork has its parent's memory."""
    command = [sys.executable, str(MEMORY), str(folder)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, env={**os.environ, **told}, **pipes) for told in meeting(WORLD)]
    try:
        said = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n\n".join(said)
    return said


def test_no_process_ever_has_the_whole_base_in_its_memory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    build_base(width=768, layers=4, vision_layers=1).save_pretrained(tmp_path)
    build_processor().save_pretrained(tmp_path)
    for said in measured(tmp_path):
        took = json.loads(said.strip().splitlines()[-1])
        assert took["whole"] > 130e6
        assert took["part"] <= 0.501 * took["whole"]
        assert took["peak"] < took["whole"] / WORLD + took["layer"] + 16e6 < 0.9 * took["whole"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "ewc"}, "method='ewc'"),
        ({"method": "wise_ft"}, "method='wise_ft'"),
        ({"method": "moe_lora"}, "method='moe_lora'"),
        ({"dormant": {"score": "fisher"}}, "dormant.score='fisher'"),
        ({"dormant": {"score": "dowser"}}, "dormant.score='dowser'"),
        ({"method": "lora", "options": {"init_lora_weights": "pissa"}}, "init_lora_weights='pissa'"),
        ({"train": {"strategy": "fsdp2", "precision": "bf16-true"}}, "train.precision='bf16-true'"),
        ({"train": {"strategy": "fsdp"}}, "train.strategy='fsdp'"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    changed = {"train": {"strategy": "fsdp2"}, **changes}
    with pytest.raises(ConfigError) as said:  # before anything is read: there is nothing there
        recompose_mllm(settings(tmp_path, tmp_path / "run", **changed), progress=False)
    assert named in str(said.value)
    assert "\n" not in str(said.value)
    assert not (tmp_path / "run").exists()


def test_stage_one_says_that_it_has_no_fsdp2(tmp_path: Path) -> None:
    edge = {"between": ["a", "b"], "shards": "pairs"}
    side = {"encoder": "tiny_vector"}
    told = {"modalities": {"a": side, "b": side}, "edges": [edge], "out": str(tmp_path), "train": {"strategy": "fsdp2"}}
    with pytest.raises(ConfigError, match=r"train.strategy='fsdp2': stage one .* give auto or ddp"):
        pa.align_pairs(load_config(AlignConfig, told))
