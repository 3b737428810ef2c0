"""Our scores and metrics against numbers that the authors' own programs gave for the same tiny inputs.

Only the numbers are here; docs/parity.md names each program and its commit, and says how it was run. Inputs come from a
formula and not from a random generator, so that every version of torch makes the same.

Note:
    A mask is recorded as a hash of its bits. Noise of 1e-5 of every score turns none of them, so rounding on another
    machine does not either.
"""

from __future__ import annotations

import hashlib
import zlib

import pytest
import torch
from torch import Tensor, nn

from pairalign.dormant.linears import find_linears
from pairalign.dormant.selection.select import owl_shares, select_dormant
from pairalign.dormant.significance import score_model
from pairalign.evaluate.forgetting import answer_mass
from pairalign.evaluate.retrieval import bidirectional
from pairalign.evaluate.zero_shot import class_embeddings, classify

PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
PARTS += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")

SPLASH = (
    ("42c905ea737570c5", 703.743221), ("1e0893c89f4c5d6a", 360.115062), ("0262b0be4728bd4f", 363.826217),
    ("e23c99f96174f475", 392.266812), ("dd7d1bf18421275c", 1033.528723), ("3af0e5368ce2e937", 1031.144871),
    ("db7c9a24bc51dba9", 229.978979),
)  # fmt: skip
WANDA_SUMS = (288.512323, 146.755666, 144.363324, 105.818487, 425.005957, 423.390240, 94.576257)
WANDA = {
    "weights": (
        "b914dba61dd13dc9", "c3fbdb934ec2935e", "c0cf9b64c67d02be", "190dc25eb1253597", "31275a95d80ba2d9",
        "34706e70ea4d9f16", "7cd0b1b3a493226b",
    ),
    "2:4": (
        "525bb6ea649c73a9", "5a47ade85f64d6a2", "8e0faed41ca895ce", "313c6ce866098522", "2290d336b3f123d8",
        "8afd98bbea99408f", "06aad6b5342caeb0",
    ),
}  # fmt: skip
DOWSER = (
    ("52b581ff080ddfbe", 0.795061348), ("81fa2f6e9c3064ae", 1.027641009), ("892a89b7df3dd077", 4.422587641),
    ("3903f1727cc1f944", 7.840232813), ("91eadb7af503dfd3", 3.026883007), ("6bc328144709a747", 2.885309874),
    ("647af87a68701d51", 2.966736626),
)  # fmt: skip
OWL = (0.43, 0.59, 0.4682608695652174, 0.5117391304347827)
MASS = (0.11750311404, 0.11542123556, 0.12137451023, 0.13920068741)


def wave(shape: tuple[int, ...], number: int) -> Tensor:
    """float64 in [−0.5, 0.5), as good as random."""
    place = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64)
    return (torch.sin(12.9898 * place + 78.233 * (number + 1)) * 43758.5453).remainder(1).sub(0.5).view(shape)


def wave_llama() -> nn.Module:
    """Four decoder layers of 32 dimensions."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)).eval()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(wave(tuple(parameter.shape), number) * 0.4 if parameter.ndim > 1 else 1.0)
    return model


def token_ids(*shape: int) -> Tensor:
    place = torch.arange(torch.Size(shape).numel())
    return ((place * place * 7 + place * 11) % 61 + 3).view(shape)


def digest(mask: Tensor) -> str:
    return hashlib.sha256(mask.to(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def test_splash_scores_and_masks() -> None:
    model = wave_llama()
    mask = torch.ones(2, 8, dtype=torch.int64)
    mask[1, -3:] = 0  # their norm hears padding, too
    scores = score_model(
        "splash", model, find_linears(model), [{"input_ids": ids, "attention_mask": mask} for ids in token_ids(3, 2, 8)]
    )
    half = select_dormant(scores, "weights", "per_row", 0.5)
    for part, (wanted, total) in zip(PARTS, SPLASH, strict=True):
        name = f"model.layers.1.{part}"
        assert float(scores[name].double().sum()) == pytest.approx(total, rel=1e-6)
        assert digest(half[name].bitmap()) == wanted
    name = "model.layers.1.mlp.down_proj"
    theirs = select_dormant({name: scores[name]}, "weights", "per_row", 28 / 48)[name].bitmap()
    ours = select_dormant({name: scores[name]}, "weights", "per_row", 0.6)[name].bitmap()
    assert digest(theirs) == "9ed84fb6a0bae6e8"  # 60 % of 48 inputs: they take 28, rounding down
    assert (ours.sum(1) == 29).all()  # and we 29, the nearest
    assert not bool((theirs & ~ours).any())


@pytest.mark.parametrize("structure", ["weights", "2:4"])
def test_wanda_scores_and_masks(structure: str) -> None:
    model = wave_llama()
    scores = score_model("wanda", model, find_linears(model), [{"input_ids": ids} for ids in token_ids(4, 1, 8)])
    masks = select_dormant(scores, structure, "per_row", 0.5)
    for part, wanted, total in zip(PARTS, WANDA[structure], WANDA_SUMS, strict=True):
        name = f"model.layers.0.{part}"  # of later layers they ask what pruned ones leave of the inputs
        assert float(scores[name].double().sum()) * 8**0.5 == pytest.approx(total, rel=1e-6)  # mean over samples
        assert digest(masks[name].bitmap()) == wanted


def test_owl_shares_of_layers() -> None:
    model = wave_llama()
    scores = score_model("wanda", model, find_linears(model), [{"input_ids": ids} for ids in token_ids(4, 1, 8)])
    shares = owl_shares(scores, 0.5, outlier=2.0, spread=0.08)
    assert list(shares) == list(scores)
    for layer, wanted in enumerate(OWL):
        for part in PARTS:
            assert shares[f"model.layers.{layer}.{part}"] == pytest.approx(wanted, abs=1e-12)


def test_dowser_scores_and_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []

    def signs(low: int, high: int, size: torch.Size, **_: object) -> Tensor:
        place = torch.arange(size.numel()) + size.numel() * len(drawn)
        drawn.append((place * place * 5 + place * 3) // 7 % 2)
        return drawn[-1].view(size)

    model = wave_llama()
    ids = token_ids(4, 3, 8)
    monkeypatch.setattr(torch, "randint", signs)
    batches = [{"input_ids": ids[0]}, {"input_ids": ids[1]}, {"input_ids": ids[2][:1]}]
    scores = score_model("dowser", model, find_linears(model), batches, probes=2)
    masks = select_dormant(scores, "weights", "per_matrix", 0.1)
    assert len(drawn) == 6
    for part, (wanted, total) in zip(PARTS, DOWSER, strict=True):
        name = f"model.layers.1.{part}"
        assert float(scores[name].double().sum()) == pytest.approx(total, rel=1e-5)
        assert digest(masks[name].bitmap()) == wanted


@torch.no_grad()
def test_answer_mass_along_what_the_model_says() -> None:
    model, prompts = wave_llama(), token_ids(1, 4, 8)[0]
    ids = prompts
    for _ in range(6):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    mass = answer_mass(model(ids).logits[:, 7:-1], ids[:, 8:], torch.tensor([5, 9, 12, 20, 33, 41]))
    assert mass.tolist() == pytest.approx(MASS, rel=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "threshold", "wanted"),
    [
        ("touch", "vision", None, (58.75, 96.25)),
        ("touch", "text", 0.636, (96.25, 100.0)),
        ("text", "vision", 0.636, (58.75, 91.25)),
        ("touch", "text", 0.9, (95.0, 98.75)),
        ("text", "vision", 0.9, (52.5, 87.5)),
    ],
)
def test_touch_vision_text_accuracy(
    first: str, second: str, threshold: float | None, wanted: tuple[float, float]
) -> None:
    unit = nn.functional.normalize
    text = unit(wave((40, 8), 0), dim=1)
    text[20:] = unit(text[:20] + 0.3 * wave((20, 8), 3), dim=1)
    touch = unit(text + 0.9 * wave((40, 8), 1), dim=1)
    found = {"text": text, "touch": touch, "vision": unit(touch + 1.1 * wave((40, 8), 2), dim=1)}
    relevant = None if threshold is None else text @ text.T > threshold
    both = bidirectional(found[first], found[second], relevant=relevant, ks=(1, 5), samples=10)
    for k, percent in zip((1, 5), wanted, strict=True):
        assert 50 * (both.forward.recall[k].value + both.backward.recall[k].value) == pytest.approx(percent)


def test_zero_shot_accuracy() -> None:
    classes = ("bowl", "chair", "lamp", "plant", "stool", "table", "vase")

    def encode(prompts: list[str]) -> Tensor:
        return torch.stack([wave((8,), zlib.crc32(p.encode()) % 1000) for p in prompts])

    vectors = class_embeddings(encode, classes, ("{}.", "a scan of a {}.", "this is a {}."))
    place = torch.arange(60)
    labels = (place**2 + place // 9) % 7
    labels[(labels == 6) & (place % 2 == 1)] = 0
    score = classify(vectors[labels] + wave((60, 8), 5) * 1.3, labels, vectors, classes, ks=(1, 3, 5), samples=10)
    overall = [100 * score.overall[k].value for k in (1, 3, 5)]
    assert overall == pytest.approx([86.66666412, 98.33332825, 100.0], rel=1e-6)
    assert [100 * score.class_mean[k].value for k in (1, 5)] == pytest.approx([85.3419, 100.0], abs=1e-4)
