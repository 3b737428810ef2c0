"""A plan without weights: published sizes, counts and bytes as choosing gives them, FLOPs as torch counts them."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from recompose_models import tiny_llama
from tiny_mllms import FAMILIES
from torch.utils.flop_counter import FlopCounterMode

import pairalign as pa
from pairalign.cli.main import main
from pairalign.core.config import to_dict
from pairalign.dormant.linears import find_linears, layer_of
from pairalign.dormant.plan import plan_dormant
from pairalign.dormant.significance.scores import _SCORES
from pairalign.finetune.architecture import build_on_meta, find_architecture
from pairalign.finetune.methods import method_names
from pairalign.finetune.plan_counts import count_layers
from pairalign.finetune.plan_flops import count_flops, token_bytes
from pairalign.finetune.recipe_page import HEADS, page
from pairalign.finetune.recipe_plan import plan_recipe
from pairalign.finetune.run import plan_recompose

RECIPES = Path(__file__).parents[2] / "configs" / "recompose"
ARCHITECTURES = RECIPES / "architectures"
PUBLISHED = {
    "Qwen2.5-VL-3B-Instruct": 3.75e9,
    "InternVL2_5-1B-hf": 0.94e9,
    "llava-1.5-7b-hf": 7.06e9,
    "llava-onevision-qwen2-7b-ov-hf": 8.03e9,
}
# family, layers that the paper tunes of its model's, kinds that it tunes
ATTENTION, GATED = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
PAPERS: dict[str, tuple[str, int, set[int], set[str]]] = {
    "splash_3b": ("qwen2_5_vl", 36, set(range(1, 35)), ATTENTION | GATED),
    "splash_1b": ("internvl", 24, set(range(1, 23)), ATTENTION | GATED),
    "model_dowser": ("llava", 32, set(range(12, 32)), ATTENTION | GATED),
    "sa_proj": ("llava_onevision", 28, set(range(28)), ATTENTION),
    "gate_up": ("llava_onevision", 28, set(range(28)), {"gate_proj", "up_proj"}),
    "mnaft": ("internvl", 24, set(range(24)), GATED | {"fc1", "fc2"}),
    "pairwise": ("llava", 32, set(range(32)), ATTENTION | GATED),
}


def recipe(name: str) -> Any:
    return pa.load_config(pa.RecomposeConfig, RECIPES / f"{name}.yaml")


def test_every_architecture_has_the_published_size() -> None:
    assert {folder.name for folder in ARCHITECTURES.iterdir()} == set(PUBLISHED)
    for name, published in PUBLISHED.items():
        model = build_on_meta(str(ARCHITECTURES / name))
        assert all(p.is_meta for p in model.parameters())
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(published, abs=0.005e9)


def test_every_recipe_is_listed() -> None:
    assert set(PAPERS) == {path.stem for path in RECIPES.glob("*.yaml")} - {"demo_rows"}


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_tunes_what_its_paper_says_of_the_real_model(name: str) -> None:
    family, count, layers, kinds = PAPERS[name]
    config = recipe(name)
    plan = plan_recipe(config, find_architecture(config.base, ARCHITECTURES))
    assert plan.model == type(FAMILIES[family].model()).__name__
    assert {layer_of(layer.name) for layer in plan.layers} == layers
    assert {layer.name.rpartition(".")[2] for layer in plan.layers} == kinds
    assert len(plan.layers) == len(layers) * len(kinds)
    assert plan.exact == (name != "mnaft")  # which neurons it marks depends on the base's weights
    if name == "mnaft":
        return
    share = plan.trained / sum(layer.entries for layer in plan.layers)
    asked = 1 if config.dormant.structure == "matrices" else config.dormant.density
    assert share == pytest.approx(asked, abs=0.001)
    text = build_on_meta(find_architecture(config.base, ARCHITECTURES)).config.get_text_config()
    assert text.num_hidden_layers == count


@pytest.mark.parametrize("name", PAPERS)
def test_its_settings_choose_the_same_layers_of_a_tiny_model_of_the_class(name: str) -> None:
    family, count, layers, kinds = PAPERS[name]
    settings = {**vars(recipe(name).dormant), "score": "random", "options": {}}
    if settings["choose"] == "relevant":  # what is marked is another test's
        settings["choose"] = "lowest"
    base = _deep(family, count)
    plan = plan_dormant(base, pa.DormantConfig(**settings))
    model = pa.get_dormant_model(base, pa.DormantConfig(**settings), sensor="touch")
    chosen = set(model.updates("touch"))
    assert {layer_of(n) for n in chosen} == layers
    assert {n.rpartition(".")[2] for n in chosen} == kinds
    assert model.trainable()[0] == sum(layer.trained for layer in plan.layers)


def _deep(family: str, count: int) -> Any:
    config = FAMILIES[family].model().config
    text = config.get_text_config()
    text.num_hidden_layers = count
    if getattr(text, "layer_types", None):
        text.layer_types = [text.layer_types[0]] * count
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config)


SETTINGS = {
    "rows": {"structure": "rows", "density": 0.3},
    "columns": {"structure": "columns", "density": 0.3},
    "per_row": {"structure": "weights", "density": 0.3},
    "per_matrix": {"structure": "weights", "budget": "per_matrix", "density": 0.3},
    "n:m": {"structure": "1:4"},
    "neurons": {"structure": "neurons", "density": 0.3, "target_modules": ("gate_proj", "up_proj", "down_proj")},
    "matrices": {"structure": "matrices", "target_modules": ("q_proj",)},
    "directions": {"structure": "directions", "density": 0.3},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_counts_and_bytes_are_those_of_choosing(settings: dict[str, Any]) -> None:
    config, model = pa.DormantConfig(score="random", **settings), tiny_llama()
    chosen = plan_dormant(model, config).layers
    linears = find_linears(model, config.target_modules)
    assert sorted(count_layers(linears, config, torch.float32), key=str) == sorted(chosen, key=str)


def test_gaps_of_few_entries_take_about_what_they_take() -> None:
    config, model = pa.DormantConfig(score="random", density=0.02, budget="per_matrix"), tiny_llama(layers=1)
    chosen = sum(layer.places for layer in plan_dormant(model, config).layers)
    counted = sum(layer.places for layer in count_layers(find_linears(model), config, torch.float32))
    assert counted == pytest.approx(chosen, rel=0.1)


@pytest.mark.parametrize("structure", ["rows", "columns", "weights", "matrices", "directions"])
def test_flops_are_those_that_torch_counts(structure: str) -> None:
    settings = {"structure": structure, "density": 0.25, "score": "random"}
    base, tokens = tiny_llama(), 12
    base.set_attn_implementation("eager")
    config = pa.DormantConfig(**settings)
    layers = count_layers(find_linears(base), config, torch.float32)
    forward, backward = count_flops(base, find_linears(base), layers, structure, tokens)
    text = base.config
    attention = 2 * text.num_hidden_layers * text.hidden_size * tokens  # eager attention does the masked half as well
    model = pa.get_dormant_model(base, config)
    embedded = torch.randn(1, tokens, text.hidden_size, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        logits = model(inputs_embeds=embedded).logits
        ahead = counter.get_total_flops()
        logits.sum().backward()
    assert ahead == pytest.approx(tokens * (forward + attention), rel=0.01)
    assert counter.get_total_flops() - ahead == pytest.approx(tokens * (backward + 2 * attention), rel=0.01)


def test_global_budgets_say_that_their_split_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(RECIPES / "splash_1b.yaml"), "dormant.budget=global"]
    assert main(words) == 0
    assert "depends on scores" in capsys.readouterr().out
    assert main([*words, "--row"]) == 0
    assert "about" in capsys.readouterr().out


def test_the_command_prints_the_plan_and_needs_no_run_or_shards(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(RECIPES / "splash_3b.yaml")
    assert main(["plan", path, "--tflops", "200"]) == 0
    said = capsys.readouterr().out
    assert "Qwen2_5_VLForConditionalGeneration: 3,754,622,976 parameters in bfloat16" in said
    assert "run: 3 epochs of shards that are not here, in steps of 16,384 tokens" in said
    assert " s a step at 200 TFLOP/s" in said
    assert main(["plan", path, "--tflops", "200", "train.epochs=null"]) == 0
    assert " h at 200 TFLOP/s" in capsys.readouterr().out
    other = str(ARCHITECTURES / "InternVL2_5-1B-hf")
    assert main(["plan", path, "--architecture", other, "dormant.layers_to_transform=[1]", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "InternVLForConditionalGeneration"
    assert {layer_of(name) for name in told["dormant"]} == {1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--architecture", "no/such-folder"], "give --architecture a folder"),
        (["--tokens", "0"], "tokens=0"),
        (["--tflops", "0"], "above 0"),
        (["method=moe_lora"], "do not say its own: use recompose --dry-run"),
        (["method=lroa"], "method='lroa'. Did you mean 'lora'"),
        (["dormant.density=2"], "'dormant.density' is 2: give a number from 0 to 1, both excluded"),
        (["dormant.layers_to_transform=[99]"], "99 is no layer"),
        (["dtype=int8"], "give auto, float32"),
        (["dormant.denstiy=0.1"], "Did you mean 'density'"),
    ],
)
def test_what_cannot_be_planned_is_one_clean_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(RECIPES / "splash_1b.yaml"), *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1


def test_the_table_in_the_docs_is_what_the_command_prints_today(capsys: pytest.CaptureFixture[str]) -> None:
    said = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text().splitlines()
    start = said.index("| " + " | ".join(HEADS) + " |") + 2
    for name in PAPERS:
        assert main(["plan", str(RECIPES / f"{name}.yaml"), "--row"]) == 0
    assert said[start : start + len(PAPERS)] == capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", PAPERS)
def test_its_score_takes_its_options(name: str) -> None:
    config = recipe(name).dormant
    if config.structure != "matrices":
        inspect.signature(_SCORES[config.score]).bind(None, {}, None, seed=0, **config.options)


@pytest.mark.parametrize("method", [name for name in method_names() if name != "moe_lora"])
def test_it_agrees_with_a_dry_run_on_every_method(setup: Path, tmp_path: Path, method: str) -> None:
    from stage_two import settings

    config = settings(setup, tmp_path, method=method)
    plan, tried = plan_recipe(config, str(setup / "base")), plan_recompose(config)
    assert plan.trained == sum(tried.trained.values())
    assert tried.delta is not None
    assert plan.delta == tried.delta - 4 * tried.bridge
    assert page(plan).count("\n") < 30


@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_7b_with_rows_at_a_tenth_fits_24_gb_in_4_bits(form: str) -> None:
    """LLaVA-1.5-7B as it is published, prompts of 512 tokens with gradient checkpointing."""
    told: dict[str, Any] = {"structure": "rows", "density": 0.1, "score": "splash"}
    changes: dict[str, Any] = {"dormant": told, "dtype": "bfloat16", "load_in": form, "method": "dormant"}
    tune = {"batch_size": 4, "gradient_checkpointing": True}
    config = pa.load_config(
        pa.RecomposeConfig, {**to_dict(recipe("pairwise")), **changes, "options": {}, "train": tune}
    )
    small = plan_recipe(config, str(ARCHITECTURES / "llava-1.5-7b-hf"))
    plain = plan_recipe(replace(config, load_in=None), str(ARCHITECTURES / "llava-1.5-7b-hf"))
    assert small.trained == plain.trained == pytest.approx(0.65e9, rel=0.01)
    assert plain.memory > 24e9
    assert small.base_bytes < {"nf4": 0.33, "int8": 0.55}[form] * plain.base_bytes
    assert small.memory < {"nf4": 18e9, "int8": 21e9}[form]
    assert f"in bfloat16, linear layers in {form}" in page(small)


@pytest.mark.parametrize("form", ["int8", "nf4"])
def test_a_quantised_base_takes_the_bytes_that_were_planned(tmp_path: Path, form: str) -> None:
    from quantised_models import needs, plain_llama, quantised_llama

    from pairalign.dormant.quantised import bytes_of
    from pairalign.finetune.recipe_plan import base_bytes

    needs(form)
    model = quantised_llama(tmp_path, form, torch.bfloat16)
    taken = sum(map(bytes_of, model.parameters()))
    planned = base_bytes(plain_llama(tmp_path), torch.bfloat16, form)
    older = form == "int8" and tuple(map(int, version("torchao").split(".")[:2])) < (0, 18)
    assert planned == pytest.approx(taken, rel=0.04 if older else 0.01)  # which kept no zeros, and smaller scales


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_token_before_the_sensor_takes_is_what_reading_it_keeps(family: str) -> None:
    model = FAMILIES[family].model()
    text = model.get_decoder() if hasattr(model, "get_decoder") else model
    with torch.no_grad():
        kept = text(input_ids=torch.ones(1, 5, dtype=torch.long), use_cache=True).past_key_values
    layers = [layer for layer in kept.layers if layer.keys is not None]
    assert token_bytes(model, torch.float32) * 5 == sum(4 * (one.keys.numel() + one.values.numel()) for one in layers)


def test_the_plan_says_what_is_kept_before_the_sensor() -> None:
    config = replace(recipe("splash_3b"), train=replace(recipe("splash_3b").train, gradient_checkpointing=False))
    architecture = find_architecture(config.base, ARCHITECTURES)
    asked = replace(config.train, prefix_memory=2.0, prefix_disk=10.0)
    for acts in ("sensor", None):  # where nothing is said it is from the sensor on
        from_sensor = replace(config, dormant=replace(config.dormant, acts=acts))
        bare, kept = (plan_recipe(replace(from_sensor, train=t), architecture) for t in (config.train, asked))
        assert kept.before == bare.before == 2 * 36 * 2 * 128 * 2  # keys and values of 36 layers of 2 heads in bfloat16
        assert kept.memory - bare.memory == 2 * 2**30
        assert "none are kept (train.prefix_memory, train.prefix_disk)" in page(bare)
        told = f"train.prefix_memory keeps {2 * 2**30 // 36864:,} tokens, train.prefix_disk keeps"
        assert told in page(kept)
    always = replace(config, dormant=replace(config.dormant, acts="always"))
    for whole in (always, replace(from_sensor, train=replace(asked, gradient_checkpointing=True))):
        memory = (replace(whole.train, prefix_memory=gib) for gib in (0.0, 2.0))
        bare, plan = (plan_recipe(replace(whole, train=train), architecture) for train in memory)
        assert plan.before is None
        assert "before the sensor" not in page(plan)
        assert plan.memory == bare.memory
