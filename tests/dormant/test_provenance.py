"""A choice of weights remembers what was chosen, by which scores, and of which samples; older files still load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recompose_models import ALL, dormant, tiny_llama, token_batches, train
from safetensors.torch import save_file
from stage_two import settings, short_run

import pairalign as pa
from pairalign.data.shards import read_samples
from pairalign.dormant import provenance as origin
from pairalign.dormant.checkpoint import CONFIG
from pairalign.dormant.linears import find_linears
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import Calibration, record_samples
from pairalign.dormant.significance import load_scores, save_scores, score_model
from pairalign.dormant.significance.dowser import written_prompts
from pairalign.finetune.run import read_tasks


def sha(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def tokens_of(batches: Any) -> str:
    return sha(*(batch["input_ids"].numpy().astype("<i8").tobytes() for batch in batches))


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_the_hash_is_of_what_was_chosen(tmp_path: Path, options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(), **options)
    parts = []
    for name, update in sorted(model.updates("touch").items()):
        if options["structure"] == "directions":
            kind, part = "directions", update.basis.numpy().tobytes()  # type: ignore[union-attr]
        else:
            marked, kind = update.mask().bitmap().numpy(), update.mask().kind  # type: ignore[union-attr]
            places = {"rows": marked.all(1), "columns": marked.all(0)}.get(kind)
            part = np.packbits(marked).tobytes() if places is None else np.flatnonzero(places).astype("<i8").tobytes()
        parts.append(f"{name} {kind} {len(part)}\n".encode() + part)
    chosen = model.origins["touch"]["sha256"]
    assert chosen == sha(*parts)
    train(model)
    model.save_pretrained(tmp_path)
    again = DormantModel.from_pretrained(tiny_llama(), tmp_path)
    assert again.origins == model.origins
    assert origin.chosen_hash(again.updates("touch")) == chosen
    again.uninstall("touch")
    assert again.origins == {}
    assert dormant(tiny_llama(), **{**options, "choose": "highest"}).origins["touch"]["sha256"] != chosen


def test_calibration_is_told_where_it_was_looked_at() -> None:
    batches = token_batches(3)
    for score, structure, read in (
        ("magnitude", "rows", False),
        ("wanda", "rows", True),
        ("random", "directions", False),
        ("magnitude", "directions", True),
        ("magnitude", "matrices", False),
    ):
        config = pa.DormantConfig(score=score, structure=structure)
        found = pa.get_dormant_model(tiny_llama(), config, iter(batches)).origins["sensor"]
        expected = {"batches": 3, "tokens": tokens_of(batches), "samples": []}
        assert found["calibration"] == (expected if read else None), (score, structure)
        assert found["scores"] is None
    samples = [record_samples(["k1", "k2"], set="mine")]
    known = Calibration(batches, samples)
    found = pa.get_dormant_model(tiny_llama(), pa.DormantConfig(score="wanda"), known).origins["sensor"]
    assert found["calibration"]["samples"] == [
        {"set": "mine", "count": 2, "sha256": sha(b"k1\nk2\n"), "keys": ["k1", "k2"]}
    ]


def test_many_keys_are_cut_and_hashed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "KEYS", 2)
    found = record_samples(["a", "b", "c"])
    assert found == {"count": 3, "sha256": sha(b"a\nb\nc\n"), "keys": ["a", "b"]}


def test_prompts_that_the_model_writes_are_told_too() -> None:
    options = {"prompts": 4, "length": 8, "probes": 2, "batch_size": 2}
    config = pa.DormantConfig(score="dowser", options=options, seed=3)
    found = pa.get_dormant_model(tiny_llama(), config).origins["sensor"]["calibration"]
    own = list(written_prompts(tiny_llama(), 4, 8, 2, 3))
    assert found == {"batches": 2, "tokens": tokens_of(own), "samples": []}


def test_a_score_file_hands_on_what_it_knows(tmp_path: Path) -> None:
    path, base = tmp_path / "s.safetensors", tiny_llama()
    linears, seen = find_linears(base), origin.Seen(Calibration(token_batches(), [record_samples(["k"])]))
    scores = score_model("wanda", base, linears, seen)
    read = origin.read_by(scores, seen)
    save_scores(scores, linears, path, progress=False, method="wanda", calibration=read)
    stored = load_scores(path)
    found = pa.get_dormant_model(tiny_llama(), pa.DormantConfig(score="wanda"), scores=stored).origins["sensor"]
    assert found["calibration"] == read
    assert read is not None
    assert read["samples"][0]["keys"] == ["k"]
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        assert found["scores"]["sha256"] == sha(file.read())
    weights = [sha(linear.weight.detach().numpy().tobytes()) for linear in linears.values()]
    assert found["scores"]["weights"] == sha("".join(weights).encode())
    assert found["scores"]["method"] == "wanda"


def test_older_files_load_and_say_nothing(tmp_path: Path) -> None:
    base = tiny_llama()
    linears = find_linears(base)
    old = {name: torch.rand(linear.weight.shape) for name, linear in linears.items()}
    about = {"kind": "significance", "method": "splash", "calibration": "shards/captions"}  # the folder, and no keys
    save_file(old, tmp_path / "old.safetensors", {"pairalign": json.dumps(about)})
    model = pa.get_dormant_model(base, pa.DormantConfig(), scores=load_scores(tmp_path / "old.safetensors"))
    assert model.origins["sensor"]["calibration"] == "shards/captions"
    model.save_pretrained(tmp_path)
    record = json.loads((tmp_path / CONFIG).read_text())
    del record["origin"]
    (tmp_path / CONFIG).write_text(json.dumps(record))
    again = DormantModel.from_pretrained(tiny_llama(), tmp_path)
    assert again.origins == {"sensor": {}}
    again.save_pretrained(tmp_path / "more")


def test_a_run_keeps_the_keys_of_its_calibration(setup: Path, tmp_path: Path) -> None:
    changes = {"calibration_size": 12, "train": {"steps": 0, "accelerator": "cpu"}}  # no multiple of the batches' size
    short_run(setup, tmp_path / "run", **changes)
    samples: Iterator[Any] = read_samples(setup / "lessons" / "image", "train", ["question"])
    keys = [next(samples).key for _ in range(12)]
    found = json.loads((tmp_path / "run" / "dormant" / CONFIG).read_text())["origin"]["calibration"]
    (one,) = found["samples"]
    assert one["keys"] == keys
    assert one["sha256"] == sha("".join(f"{key}\n" for key in keys).encode())
    assert (one["set"], one["shards"], one["split"], one["count"]) == ("pictures", "lessons/image", "train", 12)
    assert one["content_hash"] == json.loads((setup / "lessons/image/index.json").read_text())["content_hash"]
    assert found["batches"] == 2


def test_several_sets_stay_apart(setup: Path, tmp_path: Path) -> None:
    from pairalign.finetune.assemble import assemble

    image = {"shards": "lessons/image", "prompt": "{image} {question}", "answer": ""}
    words = {"shards": "lessons/words", "prompt": "{question}", "answer": "{answer}"}
    config = settings(setup, tmp_path / "run", calibration={"a": image, "b": words}, calibration_size=9)
    calibration = read_tasks(config, assemble(config)[1])[2]
    assert calibration is not None
    assert [(one["set"], one["count"], len(one["keys"])) for one in calibration.samples] == [("a", 9, 9), ("b", 9, 9)]
    assert sum(len(batch["input_ids"]) for batch in calibration) == 18
