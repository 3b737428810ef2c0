"""More families: what stands before a sensor stays the base's, every score is defined; others are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sensing import SILENT, TOUCH, batch, gels, logits, sensing, settings, taught
from tiny_mllms import MORE, Family, paligemma
from torch import Tensor

from pairalign.core.errors import ConfigError, DormantError
from pairalign.dormant.linears import find_linears
from pairalign.dormant.model import get_dormant_model
from pairalign.dormant.provenance import Calibration
from pairalign.dormant.significance import score_model
from pairalign.dormant.significance.scores import _SCORES
from pairalign.sensors.model import SensorModel
from pairalign.sensors.prefix import Prefixes
from pairalign.sensors.vision import reader_of


@pytest.fixture(params=MORE)
def family(request: pytest.FixtureRequest) -> Family:
    if request.param == "minicpmv":
        pytest.importorskip("transformers.models.minicpmv4_6")
    return MORE[request.param]


def asked(family: Family, side: str = "left") -> dict[str, Any]:
    image = family.image
    rows = [
        [1, *image, 5, 6, 7, 8, 9, *[TOUCH] * 4, 7, 8],
        [1, 5, 9, *image, 7, 3, 4, 8],
        [1, 5, 6, 4, 9, 8, 7, 3, 4, 5],
    ]
    ids, mask = batch(rows, side)
    return {"input_ids": ids, "attention_mask": mask, "signals": {"touch": gels(1)}, **family.inputs(ids, 2)}


@pytest.mark.parametrize("side", ["left", "right"])
def test_only_tokens_from_the_sensor_on_are_not_the_bases(family: Family, side: str) -> None:
    model: Any = taught(sensing(family))
    inputs = asked(family, side)
    with model.llm.disable_adapter():
        base = logits(model, inputs.pop("input_ids"), inputs.pop("attention_mask"), **inputs)
    again = asked(family, side)
    ids, mask = again.pop("input_ids"), again.pop("attention_mask")
    found = (logits(model, ids, mask, **again).view(torch.int32) != base.view(torch.int32)).any(-1)
    behind = (ids == TOUCH).cumsum(1) > 0
    assert torch.equal(found & mask.bool(), behind & mask.bool())


def test_generated_tokens_and_cut_prompts_are_those_of_the_whole(family: Family) -> None:
    model = taught(sensing(family))
    inputs = asked(family)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    told: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "suppress_tokens": SILENT}
    said = model.generate(**inputs, **told, output_logits=True, return_dict_in_generate=True)
    new = said.sequences[:, ids.shape[1] :]
    text, attended = torch.cat([ids, new], 1), torch.cat([mask, torch.ones_like(new)], 1)
    more = {"signals": inputs["signals"], **family.inputs(text, 2)}
    assert torch.allclose(torch.stack(said.logits, 1), logits(model, text, attended, **more)[:, -4:-1], atol=1e-4)
    row = {n: v[:1] for n, v in inputs.items() if n not in ("signals", "pixel_values", "image_sizes")}
    alone = {**row, "signals": inputs["signals"], **family.inputs(row["input_ids"], 1)}
    cut = Prefixes().logits(model, alone, 2)
    if cut is None:  # these keep a window of keys in some layers, or a state of what was read, and are read whole
        assert family in (MORE["gemma3"], MORE["minicpmv"])
    else:
        assert torch.allclose(cut, model(**alone).logits[:, -2:], atol=1e-4)


def test_every_score_is_defined_and_no_padding_changes_it(family: Family) -> None:
    model = family.model()

    def batches(side: str) -> Calibration:
        ids, mask = batch([[1, *family.image, 5, 6, 7, 8], [1, 5, 9, 7]], side)
        last = mask.flip(1).cumsum(1).flip(1).clamp(max=3) * mask
        inputs = {"input_ids": ids, "attention_mask": mask, **family.inputs(ids, 1)}
        tasks = {f"{n}": [{**inputs, "labels": ids.masked_fill((last > n) | (mask == 0), -100)}] for n in (1, 2)}
        return Calibration.by_task(tasks)

    for score in sorted(_SCORES):
        linears = find_linears(model, "neurons" if score in ("mnaft", "taylor") else None)
        options: dict[str, Any] = {"splash": {"tokens": "image"}, "dowser": {"probes": 1}}.get(score, {})
        left, right = (dict(score_model(score, model, linears, batches(s), **options)) for s in ("left", "right"))
        for name, value in left.items():
            assert value.isfinite().all()
            torch.testing.assert_close(right[name], value, rtol=1e-4, atol=1e-4 * float(value.max()))


def test_a_model_that_reads_prompts_in_both_directions_is_refused() -> None:
    model = paligemma()
    with pytest.raises(ConfigError, match=r"PaliGemmaForConditionalGeneration \(paligemma\) reads a prompt in both"):
        SensorModel(model)
    before: list[Tensor] = [p.clone() for p in model.parameters()]
    with pytest.raises(DormantError, match="acts='sensor': PaliGemmaForConditionalGeneration reads a prompt in both"):
        get_dormant_model(model, settings(), sensor="touch")
    assert all(p.equal(b) for p, b in zip(model.parameters(), before, strict=True))
    get_dormant_model(model, settings(acts="always"), sensor="touch")


def test_pictures_that_are_packed_side_by_side_are_not_kept() -> None:
    pytest.importorskip("transformers.models.minicpmv4_6")
    with pytest.raises(ConfigError, match=r"train.vision_memory: base 'minicpmv4_6' is not known to read each picture"):
        reader_of(MORE["minicpmv"].model())
