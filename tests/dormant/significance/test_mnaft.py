"""MNAFT against a slow oracle written from its text, a sample, a neuron and a task at a time, in both towers."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recompose_models import tiny_llama, token_batches
from tiny_mllms import FAMILIES
from torch import Tensor, nn

import pairalign as pa
from pairalign.core.errors import DormantError
from pairalign.dormant.cache import score_path
from pairalign.dormant.linears import find_linears, layer_of, tower_of
from pairalign.dormant.plan import plan_dormant
from pairalign.dormant.provenance import Calibration
from pairalign.dormant.selection.relevant import neuron_layers
from pairalign.dormant.significance import load_scores, save_scores, score_model

KINDS = {"llava": "plain and gated", "qwen2_5_vl": "gated twice", "internvl": "layer in the singular"}
SETTINGS = {"score": "mnaft", "structure": "neurons", "target_modules": "neurons", "acts": "always"}
LAYERS = 3


@functools.cache
def model_of(family: str) -> Any:
    config = FAMILIES[family].model().config
    text, vision = config.get_text_config(), config.vision_config
    text.num_hidden_layers = LAYERS
    if getattr(text, "layer_types", None):
        text.layer_types = [text.layer_types[0]] * LAYERS
    setattr(vision, "depth" if hasattr(vision, "depth") else "num_hidden_layers", LAYERS)
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config).eval()


def samples_of(family: str, task: str) -> Iterator[dict[str, Tensor]]:
    """Prompts of one sample each: of "looking" with a picture, of "reading" without."""
    generator = torch.Generator().manual_seed(len(task))
    for length in (5, 3, 4):
        words = torch.randint(3, 90, (length,), generator=generator).tolist()
        image = FAMILIES[family].image if task == "looking" else []
        ids = torch.tensor([[1, *image, *words]])
        labels = torch.full_like(ids, -100)
        labels[:, -2:] = ids[:, -2:]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
        yield {**inputs, **FAMILIES[family].inputs(ids, int(bool(image)))}


def calibration(family: str, reading: int = 1) -> Calibration:
    return Calibration.by_task({task: list(samples_of(family, task)) for task in ("looking", "reading")[: 1 + reading]})


def importance_by_hand(family: str) -> dict[str, dict[str, list[float]]]:
    """By task and MLP: of each neuron the mean over samples of the sum over tokens of abs(h · dL/dh)."""
    model, found = model_of(family).requires_grad_(True), dict[str, dict[str, list[float]]]()
    last = {
        name.rpartition(".")[0]: name for name in find_linears(model, "neurons") if name.endswith(("fc2", "down_proj"))
    }
    for task in ("looking", "reading"):
        sums = {mlp: [0.0] * model.get_submodule(name).in_features for mlp, name in last.items()}
        for sample in samples_of(family, task):
            held: dict[str, Tensor] = {}

            def keep(_: nn.Module, args: tuple[Tensor, ...], mlp: str, held: dict[str, Tensor] = held) -> None:
                args[0].retain_grad()
                held[mlp] = args[0]

            hooks = [
                model.get_submodule(name).register_forward_pre_hook(functools.partial(keep, mlp=mlp))
                for mlp, name in last.items()
            ]
            model(**sample).loss.backward()
            for hook in hooks:
                hook.remove()
            for mlp, h in held.items():
                gradient = torch.zeros_like(h) if h.grad is None else h.grad
                for values, slopes in zip(h.flatten(0, -2), gradient.flatten(0, -2), strict=True):
                    for n, (value, slope) in enumerate(zip(values.tolist(), slopes.tolist(), strict=True)):
                        sums[mlp][n] += abs(value * slope) / 3
        found[task] = sums
    model.zero_grad()
    return found


def sets_by_hand(
    importance: dict[str, dict[str, list[float]]], agnostic: float, specific: float, layers: float
) -> tuple[dict[str, set[int]], dict[str, float]]:
    """The neurons that train by MLP, and every neuron's sum over tasks, divided by the task's mean in its tower."""
    train: dict[str, set[int]] = {}
    sums: dict[str, float] = {}
    towers = {mlp.rpartition(".mlp")[0].rpartition(".")[0] for mlp in importance["looking"]}
    for tower in towers:
        mlps = [mlp for mlp in importance["looking"] if mlp.startswith(tower + ".")]
        neurons = [(mlp, n) for mlp in mlps for n in range(len(importance["looking"][mlp]))]
        of: dict[str, dict[tuple[str, int], float]] = {}
        for task, total in importance.items():
            mean = sum(total[mlp][n] for mlp, n in neurons) / len(neurons)
            of[task] = {(mlp, n): total[mlp][n] / mean if mean else 0.0 for mlp, n in neurons}
        whole = {one: sum(values[one] for values in of.values()) for one in neurons}
        first = sorted(neurons, key=lambda one: -whole[one])[: round(agnostic * len(neurons))]
        relevant = {one for one in first if whole[one] > 0}
        for one in neurons:
            if any(v[one] > specific * max(w[one] for w in of.values()) and v[one] >= 1 for v in of.values()):
                relevant.add(one)
        share = {mlp: sum(one[0] == mlp for one in relevant) / len(importance["looking"][mlp]) for mlp in mlps}
        kept = sorted(mlps, key=lambda mlp: -share[mlp])[: max(1, round(layers * len(mlps)))]
        train |= {mlp: {n for m, n in relevant if m == mlp} for mlp in kept}
        sums |= {f"{mlp}/{n}": value for (mlp, n), value in whole.items()}
    return train, sums


@pytest.mark.parametrize("family", KINDS)
def test_it_trains_the_neurons_that_the_text_says_which_are_the_most_important(family: str) -> None:
    options = {"agnostic": 0.3, "specific": 0.9, "layers": 0.67}
    config = pa.DormantConfig(**SETTINGS, choose="relevant", options=options)
    dormant = pa.get_dormant_model(model_of(family), config, calibration(family))
    masks = dormant.masks("sensor")
    dormant.unload()
    wanted, sums = sets_by_hand(importance_by_hand(family), **options)
    found: dict[str, set[int]] = {}
    for name, mask in masks.items():
        mlp, reads = name.rpartition(".")[0], name.endswith(("fc2", "down_proj"))
        assert mask.kind == ("columns" if reads else "rows")
        assert found.setdefault(mlp, set(mask.index.tolist())) == set(mask.index.tolist())
    assert found == wanted
    assert len({mlp.rpartition(".mlp")[0].rpartition(".")[0] for mlp in found}) == 2  # both towers
    for mlp, neurons in found.items():
        values = [sums[f"{mlp}/{n}"] for n in neurons]
        rest = [
            value
            for key, value in sums.items()
            if key.startswith(f"{mlp}/") and int(key.rpartition("/")[2]) not in neurons
        ]
        assert sum(values) / len(values) > 1.5 * sum(rest) / len(rest)


def test_the_control_has_as_many_neurons_of_each_layer_at_random() -> None:
    model, found = model_of("llava"), {}
    for choose, seed in (("relevant", 0), ("random", 0), ("random", 1)):
        config = pa.DormantConfig(**SETTINGS, choose=choose, seed=seed, options={"agnostic": 0.3})
        dormant = pa.get_dormant_model(model, config, calibration("llava"))
        found[choose, seed] = dormant.masks("sensor")
        dormant.unload()
    one, other, third = found.values()
    assert {n: m.count for n, m in one.items()} == {n: m.count for n, m in other.items()}
    assert any(not m.index.equal(other[n].index) for n, m in one.items())
    assert any(not m.index.equal(third[n].index) for n, m in other.items())


def test_a_plan_says_how_many_neurons_of_which_kind_are_in_which_layers() -> None:
    config = pa.DormantConfig(**SETTINGS, choose="relevant", options={"agnostic": 0.3, "layers": 0.34})
    plan = plan_dormant(model_of("llava"), config, calibration("llava"))
    dormant = pa.get_dormant_model(model_of("llava"), config, calibration("llava"))
    masks = dormant.masks("sensor")
    told = dormant.origins["sensor"]["neurons"]
    dormant.unload()
    assert [one.chosen for one in plan.neurons].count(True) == 2  # one of three in each tower
    for one, record in zip(plan.neurons, told, strict=True):
        mine = [len(mask.index) for name, mask in masks.items() if name.startswith(f"{one.name}.")]
        assert set(mine) == ({one.trained} if one.chosen else set())
        assert record["agnostic"] == one.agnostic
        assert f"{one.name}  " in str(plan)
    assert sum(one.agnostic for one in plan.neurons) >= 0.3 * LAYERS * 48


def test_marks_are_kept_in_a_small_file_and_chosen_from_alike(tmp_path: Path) -> None:
    model = model_of("llava")
    linears = find_linears(model, "neurons")
    scores = score_model("mnaft", model, linears, calibration("llava"), agnostic=0.3)
    path = tmp_path / "marks.safetensors"
    save_scores(scores, linears, path, progress=False, method="mnaft")
    assert path.stat().st_size < 4 * sum(m.weight.numel() for m in linears.values()) / 2
    stored = load_scores(path)
    assert neuron_layers(stored) == neuron_layers(scores)
    config = pa.DormantConfig(**SETTINGS, choose="relevant")
    masks = []
    for given in (scores, stored):
        dormant = pa.get_dormant_model(model, config, scores=given)
        masks.append(dormant.masks("sensor"))
        dormant.unload()
    assert all(mask.index.equal(masks[1][name].index) for name, mask in masks[0].items())
    with pytest.raises(DormantError, match="choose='lowest': with score='mnaft' it trains the least important"):
        pa.get_dormant_model(model, pa.DormantConfig(structure="neurons", target_modules="neurons"), scores=stored)


def test_tasks_are_part_of_what_keeps_scores(tmp_path: Path) -> None:
    model, linears = model_of("llava"), find_linears(model_of("llava"), "neurons")
    both = calibration("llava")
    renamed = Calibration(both, (), ["a" if task == "looking" else "b" for task in both.tasks])
    swapped = Calibration(both, (), reversed(both.tasks))
    paths = {score_path(tmp_path, "mnaft", model, linears, of) for of in (both, renamed, swapped)}
    assert len(paths) == 3
    assert len({score_path(tmp_path, "taylor", model, linears, of) for of in (both, swapped)}) == 1


def test_targets_choose_whose_specific_neurons_train() -> None:
    model, linears = model_of("llava"), find_linears(model_of("llava"), "neurons")
    counts = {}
    for targets in ((), ("looking",), ("reading",)):
        scores = score_model("mnaft", model, linears, calibration("llava"), agnostic=0.1, targets=targets)
        counts[targets] = sum(one.specific for one in neuron_layers(scores) if "language" in one.name)
    assert counts[()] >= max(counts["looking",], counts["reading",]) > 0
    with pytest.raises(DormantError, match=r"'reding' is no calibration task\. Did you mean 'reading'"):
        score_model("mnaft", model, linears, calibration("llava"), targets=["reding"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"choose": "lowest"}, "the opposite of the published method.*choose='relevant'.*score='taylor'"),
        ({"choose": "lowest", "options": {"protect": ["text"]}}, "score 'mnaft' has no option 'protect'"),
        ({"choose": "relevant", "structure": "rows"}, "score='mnaft' is of whole neurons: give structure='neurons'"),
        ({"choose": "relevant", "score": "magnitude"}, "score='magnitude' marks no neuron"),
        ({"choose": "random", "score": "magnitude"}, "For random ones give score='random'"),
        (
            {"choose": "relevant", "target_modules": None},
            "a neuron needs exactly gate_proj, up_proj, down_proj; or fc1",
        ),
    ],
)
def test_settings_that_mean_something_else_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(DormantError, match=told):
        pa.get_dormant_model(model_of("llava"), pa.DormantConfig(**{**SETTINGS, **settings}), calibration("llava"))


def test_it_needs_tasks_answers_and_pictures() -> None:
    model, linears = model_of("llava"), find_linears(model_of("llava"), "neurons")
    whole = calibration("llava")
    with pytest.raises(DormantError, match="compares tasks, and the calibration data has one, looking: give two"):
        score_model("mnaft", model, linears, calibration("llava", reading=0))
    with pytest.raises(DormantError, match="has one, a set without a task's name"):
        score_model("mnaft", model, linears, list(whole))
    plain = [{name: value for name, value in batch.items() if name != "labels"} for batch in whole]
    with pytest.raises(DormantError, match="score='mnaft' needs labels"):
        score_model("mnaft", model, linears, Calibration(plain, (), whole.tasks))
    blind = Calibration(list(samples_of("llava", "reading")), (), ["a", "b", "b"])
    with pytest.raises(DormantError, match=r"never reached model\.vision_tower"):
        score_model("mnaft", model, linears, blind)


def test_taylor_finds_the_neurons_that_answers_need_least() -> None:
    model = tiny_llama()
    batches = [{**b, "labels": b["input_ids"].masked_fill(b["attention_mask"] == 0, -100)} for b in token_batches()]
    down = model.get_submodule("model.layers.1.mlp.down_proj")
    with torch.no_grad():
        down.weight[:, [5, 17]] = 0
    config = pa.DormantConfig(score="taylor", structure="neurons", target_modules="neurons", density=2 / 48)
    masks = pa.get_dormant_model(model, config, batches).masks("sensor")
    assert masks["model.layers.1.mlp.up_proj"].index.tolist() == [5, 17]


@pytest.mark.parametrize("family", KINDS)
def test_neurons_of_all_towers_are_named_and_layers_counted_in_each(family: str) -> None:
    model = model_of(family)
    towers = {tower_of(name): 0 for name in find_linears(model, "neurons")}
    assert len(towers) == 2
    last = find_linears(model, "neurons", layers_to_transform=[-1])
    assert {layer_of(name) for name in last} == {LAYERS - 1}
    assert {tower_of(name) for name in last} == set(towers)
    assert not any("projector" in name or "merger" in name or "attn" in name for name in find_linears(model, "neurons"))
