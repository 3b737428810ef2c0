"""Held to the base's answers without a second model, where updates can be switched off; with the decoder's, else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sensing import TOUCH, batch, gels, make_sensor
from tiny_mllms import FAMILIES, VOCAB
from torch import Tensor, nn

import pairalign as pa
from pairalign.core.errors import ConfigError
from pairalign.finetune.collator import IGNORED, Batch
from pairalign.finetune.config import DistilConfig, RecomposeConfig, TuneConfig
from pairalign.finetune.distil import base_says, check_distil, divergence
from pairalign.finetune.measure import answer_logits
from pairalign.finetune.methods import create_method
from pairalign.finetune.methods.method import Setup, decoder_parameters
from pairalign.finetune.module import StageTwo

SETUP = Setup(pa.DormantConfig(structure="matrices", acts="sensor"))


def model() -> pa.SensorModel:
    base = FAMILIES["llava"].model()
    made = pa.SensorModel(base)
    made.add("touch", make_sensor(base), TOUCH)
    return made.eval()


def taught(words: int = 3) -> Batch:
    ids, mask = batch([[1, *[TOUCH] * 4, *[5] * words, 6, 7], [1, 8, *[TOUCH] * 4, 9, 4]], "left")
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < ids.shape[1] - 2, IGNORED)
    labels[1, -2] = IGNORED
    inputs = {"input_ids": ids, "attention_mask": mask, "signals": {"touch": gels(2)}}
    return Batch(inputs, labels, ("a", "b"), ("", ""))


def config(method: str, weight: float = 0.5, **changes: Any) -> RecomposeConfig:
    train = TuneConfig(distil=DistilConfig(weight, 3.0), **changes)
    return RecomposeConfig("base", {}, {}, "out", method=method, train=train)


@pytest.mark.parametrize("name", ["lora", "dormant"])
def test_the_model_with_its_updates_off_is_the_teacher(name: str) -> None:
    made, base, method = model(), model(), create_method(name, {})
    base.load_state_dict(made.state_dict())
    before = {id(p) for p in made.parameters()}
    made.llm = method.prepare(made.llm, SETUP)
    with torch.no_grad():
        for number, p in enumerate(p for p in made.llm.parameters() if p.requires_grad):
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number)))
    assert sum(p.numel() for p in made.parameters() if id(p) not in before) < 2 * sum(
        p.numel() for p in made.llm.parameters() if p.requires_grad
    )  # no second model
    task, one = StageTwo(made, method, config(name)), taught()
    loss, penalty = task.losses(one)
    old, new = base(**one.inputs).logits, made(**one.inputs).logits
    expected = 0.0
    for row, place in ((0, -3), (0, -2), (1, -2)):
        p, q = (F.softmax(x[row, place].detach() / 3, -1) for x in (old, new))
        expected += float((p * (p / q).log()).sum())
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(0.5 * 9 * expected / 3, rel=1e-4)
    (loss + penalty).backward()
    assert StageTwo(made, method, config(name, 0.0)).losses(one)[1] is None


def test_a_second_decoder_is_all_that_full_tuning_keeps() -> None:
    made, method = model(), create_method("lwf", {})
    made.llm = method.prepare(made.llm, SETUP)
    (teacher,) = method.base  # type: ignore[attr-defined]
    own = {id(t) for t in (*made.llm.parameters(), *made.llm.buffers())}
    extra = {name for name, t in teacher.named_parameters() if id(t) not in own}
    assert extra == set(decoder_parameters(made.llm))
    assert all(id(t) in own for t in teacher.buffers())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in decoder_parameters(made.llm).values())


def held(make: Any) -> int:
    """Bytes of float32 vocabulary rows that are kept for the backward pass."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.shape[-1:] == (VOCAB,):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        make()
    return sum(sizes.values())


def test_logits_of_answers_alone_are_held() -> None:
    made, one = model(), taught(words=30)
    logits = nn.Parameter(answer_logits(made, one)[0].detach())
    labels = one.labels[:, -one.columns :]
    row = VOCAB * 4
    said = base_says(made, one, made.llm)
    assert said.shape == (3, VOCAB)
    assert said.untyped_storage().nbytes() == 3 * row
    assert held(lambda: divergence(said, logits, labels, 2.0)) <= 3 * 3 * row


def test_who_cannot_be_held_is_told() -> None:
    for name, said in (("full", "has no updates to switch off"), ("lwf", "distils by itself")):
        with pytest.raises(ConfigError, match=said):
            check_distil(config(name), create_method(name, {}))
    with pytest.raises(ConfigError, match=r"not with train.strategy='fsdp2'"):
        check_distil(config("dormant", strategy="fsdp2"), create_method("dormant", {}))
    check_distil(config("full", 0.0), create_method("full", {}))
