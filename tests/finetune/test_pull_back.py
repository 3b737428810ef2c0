"""Weights pulled back after training: by a share that is given or chosen, for every method that leaves weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_two import short_run, values
from tiny_mllms import FAMILIES

import pairalign as pa
from pairalign.core.errors import ConfigError
from pairalign.dormant.linears import find_linears
from pairalign.evaluate.intervals import wilson
from pairalign.finetune.callbacks import EvaluationCallback
from pairalign.finetune.gate import Measured
from pairalign.finetune.measure import TaskScore
from pairalign.finetune.methods import create_method, method_names
from pairalign.finetune.methods.method import Setup, decoder_parameters
from pairalign.finetune.pull_back import SHARES, PullBack
from pairalign.finetune.run import load_recomposed

IDS = torch.randint(5, 40, (2, 8), generator=torch.Generator().manual_seed(0))
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS}
MAKING = pa.DormantConfig(score="random", structure="rows", density=0.3)
METHODS = [name for name in method_names() if name != "bridge"]


def taught(name: str, **options: Any) -> tuple[Any, Any]:
    """A method and its model as if trained, far from where it began."""
    method = create_method(name, options)
    llm = method.prepare(FAMILIES["llava"].model(), Setup(MAKING, [BATCH], remember=True))
    llm(**BATCH).loss.backward()
    method.after_backward(llm)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in llm.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=draw))
    return method, llm


def kept(share: float, name: str, **options: Any) -> tuple[torch.nn.Module, torch.Tensor]:
    """The finished model at a share of the way, and the logits that were measured there."""
    method, llm = taught(name, **options)
    pull = PullBack(share)
    before = {n: p.detach().clone() for n, p in llm.named_parameters()}
    with torch.no_grad(), pull.settled(method, llm):
        measured = llm(input_ids=IDS).logits
    assert all(torch.equal(p, before[n]) for n, p in llm.named_parameters())
    return pull.finish(method, llm).eval(), measured


@torch.no_grad()
def logits(llm: torch.nn.Module) -> torch.Tensor:
    found: torch.Tensor = llm(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("name", METHODS)
def test_the_ends_are_the_base_and_what_was_learned(name: str) -> None:
    nothing, all_of_it = kept(0.0, name)[0], kept(1.0, name)[0]
    assert torch.equal(logits(nothing), logits(FAMILIES["llava"].model()))
    method, llm = taught(name)
    learned = logits(method.finish(llm).eval())
    assert torch.equal(logits(all_of_it), learned)
    assert not torch.allclose(logits(nothing), learned, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_measured_at_a_share_is_what_is_left(name: str) -> None:
    llm, measured = kept(0.3, name)
    assert torch.equal(logits(llm), measured)
    assert not torch.allclose(measured, kept(1.0, name)[1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"), [("full", {}), ("wise_ft", {}), ("lora", {}), ("lora", {"init_lora_weights": "pissa"})]
)
def test_between_the_ends_weights_are_on_the_line(name: str, options: dict[str, Any]) -> None:
    start, half, end = FAMILIES["llava"].model(), kept(0.3, name, **options)[0], kept(1.0, name, **options)[0]
    for which in find_linears(start):
        w0, w, w1 = (m.get_submodule(which).weight for m in (start, half, end))
        assert torch.allclose(w, w0 + 0.3 * (w1 - w0), atol=1e-6)
        assert not torch.allclose(w, w1, atol=1e-3)
    if name == "full":  # norms and embeddings too
        first, last = decoder_parameters(start), decoder_parameters(end)
        for which, w in decoder_parameters(half).items():
            assert torch.allclose(w, first[which] + 0.3 * (last[which] - first[which]), atol=1e-6)


def test_wise_ft_is_full_tuning_pulled_back() -> None:
    assert torch.equal(logits(kept(1.0, "wise_ft", alpha=0.4)[0]), logits(kept(0.4, "full")[0]))


def score(accuracy: float) -> TaskScore:
    return TaskScore({"it": wilson(100 * accuracy, 100)}, accuracy, 1.0)


def found(learned: float, held: float) -> Measured:
    return {"validation": {"touch": score(learned)}, "held_out": {"image": score(held)}}


def signalled(learned: float, there: float) -> Measured:
    """Nothing is lost without a signal in the prompt."""
    return {**found(learned, 0.9), "held_out_behind": {"image": score(there)}}


BASE = signalled(0.1, 0.9)
CASES: dict[str, tuple[Mapping[float, Measured], float, float | None]] = {
    "the largest learning within the bound": ({0.3: found(0.5, 0.87), 0.4: found(0.6, 0.86), 0.5: found(0.7, 0.84)},
                                              0.4, 5.0),
    "exactly as much as may be lost": ({0.5: found(0.5, 0.85), 0.6: found(0.6, 0.8499)}, 0.5, 5.0),
    "a tie goes to the smaller": ({0.2: found(0.6, 0.9), 0.7: found(0.6, 0.9)}, 0.2, 5.0),
    "all of it": ({1.0: found(0.6, 0.9)}, 1.0, 5.0),
    "what it costs with a signal there": (
        {0.3: signalled(0.5, 0.86), 0.4: signalled(0.6, 0.85), 0.5: signalled(0.7, 0.84)}, 0.4, 5.0
    ),
    "without a bound": ({0.3: found(0.6, 0.9), 0.8: found(0.7, 0.1)}, 0.8, None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_validation_chooses_within_the_bound(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    measured, share, bound = CASES[case]

    def measures(callback: EvaluationCallback) -> Measured:
        worst = found(0.2, 0.1) if bound is not None else found(0.2, 0.9)
        return measured.get(callback.pull.share, worst) if callback.history else BASE

    with monkeypatch.context() as patch:
        patch.setattr(EvaluationCallback, "measure", measures)
        patch.setattr(EvaluationCallback, "measure_base", measures)
        train = {**values(setup, tmp_path)["train"], "validate_every": 2, "measure_tokens": 0, "pull_back": "auto"}
        run = short_run(setup, tmp_path / "run", train=train, max_forgetting=bound)
    told = run.results["pull_back"]
    assert (told["share"], told["asked"]) == (share, "auto")
    assert [tried["share"] for tried in told["tried"]] == list(SHARES)
    assert all("validation/touch/accuracy" in tried for tried in told["tried"])
    assert run.results["kept"] == {"step": 6, "learned": True}  # nothing on the way stopped it
    assert run.results["after"]["validation"]["touch"]["accuracy"] == measured[share]["validation"]["touch"].accuracy


def test_where_no_share_is_within_the_bound_the_base_is_kept(
    setup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EvaluationCallback, "measure", lambda callback: found(0.9, 0.1))
    monkeypatch.setattr(EvaluationCallback, "measure_base", lambda callback: BASE)
    train = {**values(setup, tmp_path)["train"], "measure_tokens": 0, "pull_back": "auto"}
    run = short_run(setup, tmp_path / "run", train=train, max_forgetting=5.0)
    assert run.results["kept"] == {"step": 0, "learned": False}
    assert "the weights of step 0 are kept" in run.results["stopped"]


@pytest.mark.parametrize("method", ["dormant", "full", "moe_lora"])
def test_a_run_keeps_what_it_measured_at_its_share(setup: Path, tmp_path: Path, method: str) -> None:
    """With real measurements, and again when it is loaded; a run at 1 is the run without."""
    train = {**values(setup, tmp_path)["train"], "validate_every": 0, "measure_tokens": 0}
    runs = {
        share: short_run(setup, tmp_path / str(share), method=method, train={**train, "pull_back": share})
        for share in (None, 0.5, 1.0)
    }
    plain, half, whole = (run.model.llm for run in runs.values())
    ids = IDS[:, :4]

    @torch.no_grad()
    def says(llm: Any) -> torch.Tensor:
        logits: torch.Tensor = llm(input_ids=ids).logits
        return logits

    assert torch.equal(says(plain), says(whole))
    again = load_recomposed(runs[0.5].folder).model.llm
    assert torch.equal(says(half), says(again))
    if method != "dormant":  # whose updates act from a sensor on
        assert not torch.equal(says(half), says(plain))
    else:
        ends = {n: (u.values, plain.updates("touch")[n].values) for n, u in half.updates("touch").items()}
        bases = {n: u.take(half.get_submodule(n).base_weight()) for n, u in half.updates("touch").items()}
        for n, (middle, end) in ends.items():
            assert torch.allclose(middle, bases[n] + 0.5 * (end - bases[n]), atol=1e-6)
    assert runs[None].results["pull_back"] is None
    assert runs[0.5].results["pull_back"] == {"share": 0.5, "asked": 0.5, "tried": []}


def test_what_is_asked_with_a_signal_is_asked_of_what_is_kept(setup: Path, tmp_path: Path) -> None:
    """At 0 it is the base that answers, as with updates off; at 1 it is not."""
    train = {**values(setup, tmp_path)["train"], "lr": 0.1, "validate_every": 0, "measure_tokens": 0}
    train["measure_with_signals"] = True
    for share in (0.0, 1.0):
        run = short_run(setup, tmp_path / str(share), train={**train, "pull_back": share})
        (found,) = run.results["with_signals"]["tasks"].values()
        assert (found["before"]["loss"] == found["updates_off"]["before"]["loss"]) == (share == 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "bridge"}, "method 'bridge' changes no weight of the language model"),
        ({"validation": {}}, "needs validation tasks"),
        ({"train": {"steps": 0}}, "with train.steps=0 nothing is learned"),
        ({"train": {"pull_back": 1.5}}, "give a number from 0 to 1"),
    ],
)
def test_what_cannot_be_pulled_back_is_said_before_long_work(
    setup: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    train = {**values(setup, tmp_path)["train"], "pull_back": "auto", **changes.pop("train", {})}
    with pytest.raises(ConfigError, match=said):
        short_run(setup, tmp_path / "run", base=str(tmp_path / "nowhere"), **changes, train=train)
    assert not (tmp_path / "run").exists()
