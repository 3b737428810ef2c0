"""`pairalign describe`, end to end with a tiny pack: answers, resuming, scores, page, judge, and clean errors."""

from __future__ import annotations

import json
import threading
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import make_setup, short_run
from torch import nn

import pairalign as pa
from conftest import recorded_as
from pairalign.cli.main import main
from pairalign.data.shards import read_samples
from pairalign.data.world import World
from pairalign.finetune.config import TaskConfig
from pairalign.finetune.describe import Decoding, describe_split
from pairalign.finetune.tasks import Task
from pairalign.sensors.model import SensorModel

WORDS = {"soft": ["yielding"], "hard": ["firm"]}


@pytest.fixture(autouse=True)
def where_the_base_is(setup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack names its base's folder and not the way to it."""
    monkeypatch.chdir(setup)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_setup(tmp_path_factory.getbasetemp().parent / "stage_two")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve touches to describe and twelve of training, two of each object; one reference says nothing."""
    folder, world = tmp_path_factory.mktemp("pairs"), World(seed=4)
    rows = []
    for split, start in (("train", 0), ("test", 100)):
        for n in range(12):
            sample = world.sample(start + n // 2, None, ("touch",))
            factors = sample["factors"]
            text = f"{factors['hardness']}, {factors['texture']}" if (split, n) != ("test", 11) else "a surface"
            row = {"key": f"{split}-{n:02d}", "touch": sample["touch"], "text": text}
            rows.append({**row, "split": split, "group": f"{split}{n // 2}"})
    units = {"touch": {"unit": "1"}}
    pa.pack_pairs(rows, folder, units=units, progress=False)
    return folder


@pytest.fixture(scope="module")
def run(setup: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Taught for long enough to say adjectives, and too short to say the right ones."""
    task = {"shards": str(shards), "prompt": "{touch} what is it like?", "answer": "{text}"}
    train = {"steps": 80, "batch_size": 8, "warmup": 1, "accelerator": "cpu", "lr": 0.02, "bridge_lr": 0.02}
    train |= {"measure_with_signals": True}
    changes = {"dormant": {"structure": "rows", "density": 0.3}, "tasks": {"describe": task}, "train": train}
    changes["validation"] = {"describe": {**task, "split": "test", "limit": 4}}
    return short_run(setup, tmp_path_factory.mktemp("runs") / "touch", **changes).folder


@pytest.fixture(scope="module")
def pack(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pa.export_pack(run, tmp_path_factory.mktemp("packs") / "touch")


def describe(pack: Path, shards: Path, out: Path, *more: str) -> dict[str, Any]:
    words = ["--tokens", "5", "--batch-size", "4", "--device", "cpu", "--out", str(out), "--quiet", *more]
    assert main(["describe", str(pack), "--pairs", str(shards), *words]) == 0
    return json.loads((out / "generation.json").read_text())


def test_a_program_reads_what_the_page_says(
    pack: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    result = describe(pack, shards, tmp_path, "--limit", "3", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told.pop("files")["page"] == str(tmp_path / "generation.html")
    assert told == result


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


def test_answers_scores_and_page(pack: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = describe(pack, shards, tmp_path, "--protocol", "tvl")
    said = {record["key"]: record for record in lines(tmp_path)}
    assert list(said) == [sample.key for sample in read_samples(shards, "test", ["text"])]
    kept = [record for record in said.values() if record["reference"] != "a surface"]
    assert (result["n"], result["left_out"], result["clusters"]) == (11, 1, 6)
    stems = [set(record["reference"].split(", ")) for record in kept]
    answers = [set(record["answer"].replace(".", "").split()) for record in kept]
    hits = sum(len(a & b) for a, b in zip(stems, answers, strict=True))
    assert result["keywords"]["micro"]["recall"]["value"] <= hits / sum(map(len, stems)) + 1e-9
    for mean in ("micro", "macro"):
        for metric in ("precision", "recall", "f1"):
            score = result["keywords"][mean][metric]
            levels = [result["keywords"]["chance"][kind][mean][metric] for kind in ("frequent", "shuffled")]
            assert score["chance"] == pytest.approx(max(levels))
            assert score["low"] <= score["value"] <= score["high"]
    assert result["keywords"]["chance"]["frequent"]["of"] == "training references"
    assert result["keywords"]["chance"]["frequent"]["micro"]["f1"] > 0
    assert "2402.13232" in result["source"]
    assert any("GPT-4" in text for text in result["differs"])
    assert result["decoding"] == {
        "max_new_tokens": 5, "batch_size": 4, "do_sample": False, "num_beams": 1,
    }  # fmt: skip
    assert result["prompt"].startswith("{touch} Describe")
    page = (tmp_path / "generation.html").read_text()
    assert page.count("<use ") >= 11
    assert all(f'class="txt">{key}</th>' in page for key in said)
    printed = capsys.readouterr().out
    assert "identical: all " in printed  # what was not trained on, of the pack's own results
    assert [line for line in result["held_out"] if line.startswith("  a signal in front ")]
    assert all(line.strip() in unescape(page) for line in result["held_out"])
    for words in ("f1, micro", "frequent answer", "other's reference", "(n = 11)", "differs: ", "generation.html"):
        assert words in printed


class Loud(nn.Module):
    """A bridge whose vectors are driven away from those of a blank touch."""

    def __init__(self, bridge: Any, blank: torch.Tensor) -> None:
        super().__init__()
        self.bridge, self.blank, self.length = bridge, blank.detach(), bridge.length

    def forward(self, sensed: Any) -> torch.Tensor:
        vectors = self.bridge(sensed)
        return self.blank + 30000 * (vectors - self.blank)


def test_a_batch_says_what_each_sample_alone_says(pack: Path, setup: Path, shards: Path, tmp_path: Path) -> None:
    """Wild weights and a loud bridge make answers depend on the touch, so that a swapped sample would show."""
    model, processor = pa.load_sensor_model(str(setup / "base"), [pack])
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.llm.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) * (0.3 if p.ndim > 1 else 1))
    sensor = model.sensors["touch"]
    sensor.bridge = Loud(sensor.bridge, sensor(torch.zeros(1, *sensor.encoder.signal.shape)))
    task = Task("it", TaskConfig(str(shards), "{touch} what is it like?", "{text}", "test", limit=6), ".", ["touch"])
    decoding = Decoding(tokens=5, batch_size=4)
    found = describe_split(
        model, processor, task, tmp_path / "a.jsonl", identity="loud", decoding=decoding, progress=False
    )
    samples = list(read_samples(shards, "test", ["touch"]))[:6]
    alone = {
        s.key: pa.answer(model, processor, "{touch} what is it like?", signals={"touch": [s.values["touch"]]}, tokens=5)
        for s in samples
    }
    assert {d.key: d.answer for d in found.descriptions} == alone
    assert len(set(alone.values())) > 1
    assert [d.meta["group"] for d in found.descriptions] == [s.meta["group"] for s in samples]


def test_a_run_answers_as_its_pack(run: Path, pack: Path, shards: Path, tmp_path: Path) -> None:
    a, b = describe(run, shards, tmp_path / "a"), describe(pack, shards, tmp_path / "b")
    assert [r["answer"] for r in lines(tmp_path / "a")] == [r["answer"] for r in lines(tmp_path / "b")]
    assert a["keywords"] == b["keywords"]
    assert (a["model"]["run"], b["model"]["pack"]) == (run.name, pack.name)


def test_the_same_command_goes_on_where_it_was_stopped(
    pack: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = describe(pack, shards, tmp_path / "whole")
    sizes: list[int] = []
    generate = SensorModel.generate

    def recorded(self: SensorModel, input_ids: Any, **inputs: Any) -> Any:
        sizes.append(len(input_ids))
        return generate(self, input_ids, **inputs)

    def killed(self: SensorModel, input_ids: Any, **inputs: Any) -> Any:
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return recorded(self, input_ids, **inputs)

    monkeypatch.setattr(SensorModel, "generate", killed)
    words = ["--tokens", "5", "--batch-size", "4", "--device", "cpu", "--quiet", "--out", str(tmp_path / "cut")]
    assert main(["describe", str(pack), "--pairs", str(shards), *words]) == 130
    with (tmp_path / "cut" / "answers.jsonl").open("r+b") as stream:
        stream.truncate(stream.seek(0, 2) - 5)  # the kill came in the middle of the last line
    sizes.clear()
    monkeypatch.setattr(SensorModel, "generate", recorded)
    assert describe(pack, shards, tmp_path / "cut") == whole
    assert sizes == [4, 4]  # the batch of the cut answer whole, so that its padding is the same
    sizes.clear()
    assert describe(pack, shards, tmp_path / "cut") == whole
    assert sizes == []
    describe(pack, shards, tmp_path / "cut", "--prompt", "{touch} what is it like?")
    assert sum(sizes) == 12


def test_synonyms_and_vocabulary_change_what_counts(pack: Path, shards: Path, tmp_path: Path) -> None:
    """Answers that are there already are taken up, so that they can be known ones."""
    describe(pack, shards, tmp_path)
    texts = {r["key"]: r["reference"].replace("soft", "yielding").replace("hard", "firm") for r in lines(tmp_path)}
    known = [{**record, "answer": texts[record["key"]]} for record in lines(tmp_path)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in known))
    (tmp_path / "synonyms.json").write_text(json.dumps(WORDS))
    plain = describe(pack, shards, tmp_path)["keywords"]["micro"]["f1"]
    told = describe(pack, shards, tmp_path, "--synonyms", str(tmp_path / "synonyms.json"))["keywords"]["micro"]["f1"]
    assert plain["value"] < 1
    assert (told["value"], told["high"]) == (1.0, 1.0)
    assert told["low"] < 1


class _Judge(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        self.server.asked.append(text)  # type: ignore[attr-defined]
        reply = json.dumps({"choices": [{"message": {"content": "Score: 4"}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args: Any) -> None: ...


def test_a_judge_scores_too(pack: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MY_KEY", "k3y-of-mine")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    words = ["--judge-url", url, "--judge-model", "judge-1", "--judge-key", "MY_KEY", "--judge-chance", "3"]
    try:
        judged = describe(pack, shards, tmp_path, *words)["judge"]
        describe(pack, shards, tmp_path, *words)
    finally:
        server.shutdown()
        server.server_close()
    assert len(server.asked) == 11 + 3  # type: ignore[attr-defined]
    assert judged["score"]["value"] == judged["score"]["chance"] == 4.0
    assert (judged["score"]["n"], judged["unparsable"], judged["chance"]["replies"]) == (11, 0, 3)
    assert (judged["model"], judged["temperature"], judged["host"]) == ("judge-1", 0.0, url.split("/")[2])
    assert "k3y-of-mine" not in "".join(path.read_text() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--split", "tset"], "Did you mean 'test'?"),
        (["--prompt", "{tuoch} what is it?"], "Did you mean 'touch'?"),
        (["--reference", "{txt}"], "Did you mean 'text'?"),
        (["--signal", "touch"], "FIELD=SENSOR"),
        (["--signal", "text=tuch"], "Did you mean 'touch'?"),
        (["--protocol", "tvll"], "Did you mean 'tvl'?"),
        (["--judge-url", "http://host/v1"], "--judge-model"),
        (
            ["--judge-url", "http://host/v1", "--judge-model", "m", "--judge-key", "NO_SUCH_KEY_HERE"],
            "NO_SUCH_KEY_HERE",
        ),
        (["--synonyms", "nothing.json"], "nothing.json"),
        (["--vocabulary", "nothing.txt"], "nothing.txt"),
        (["--tokens", "0"], "tokens=0"),
        (["--limit", "1"], "--limit 1"),
        (["--device", "gpu"], "--device='gpu' is not on this machine"),
        (["--base", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_clean_line(
    words: list[str], said: str, pack: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["describe", str(pack), "--pairs", str(shards), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("pairalign: ")
    assert said in error
    assert not (tmp_path / "out").exists()


def test_shards_of_another_unit_are_refused(
    pack: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = recorded_as(shards, tmp_path / "wrong", "touch", unit="kPa")
    assert main(["describe", str(pack), "--pairs", str(wrong), "--out", str(tmp_path / "out")]) == 2
    assert "the data records unit 'kPa', the encoder declares '1'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_neither_pack_nor_run(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["describe", str(tmp_path), "--pairs", str(shards)]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_results_of_an_earlier_version_tell_nothing_and_damaged_ones_so(tmp_path: Path) -> None:
    from pairalign.cli.describe import _held_out
    from pairalign.core.errors import DataError

    assert _held_out(tmp_path) == []
    (tmp_path / "results.json").write_text('{"with_signals": {"tasks": {"image": {"n": 3}}}}')
    with pytest.raises(DataError, match=r"results.json' is damaged .*: copy it again"):
        _held_out(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    assert _held_out(tmp_path) == []
