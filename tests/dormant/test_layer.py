"""The dormant engine on a real decoder: what trains, what must not move by a bit, and what must raise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recompose_models import ALL, STRUCTURES, dormant, logits, loss, tiny_llama, token_batches, train
from torch import nn

import pairalign as pa
from pairalign.core.errors import DormantError
from pairalign.dormant.layer import DormantLinear, dormant_linears
from pairalign.dormant.model import DormantModel


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_before_training_it_is_the_base_bit_for_bit(options: dict[str, Any], dtype: torch.dtype) -> None:
    base = tiny_llama().to(dtype)
    before = logits(base)
    model = dormant(base, **options)
    assert logits(model).equal(before)
    assert loss(model).requires_grad
    with torch.no_grad():
        trained = model(**token_batches()[0]).logits
    assert trained.equal(before)


@pytest.mark.parametrize("options", STRUCTURES.values(), ids=STRUCTURES)
def test_the_packed_gradient_is_the_dense_ones_entries(options: dict[str, Any]) -> None:
    dense = tiny_llama()
    loss(dense).backward()
    wanted = {name: module.weight.grad for name, module in dense.named_modules() if isinstance(module, nn.Linear)}
    model = dormant(tiny_llama(), **options)
    loss(model).backward()
    for name, update in model.updates("touch").items():
        entries = update.take(wanted[name])
        error = (update.values.grad - entries).norm() / entries.norm()
        assert error <= 1e-6
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {
        n for n, p in model.named_parameters() if p.requires_grad
    }


def test_directions_have_the_gradient_of_b() -> None:
    dense = tiny_llama()
    loss(dense).backward()
    model = dormant(tiny_llama(), structure="directions")
    loss(model).backward()
    modules = dict(dense.named_modules())
    for name, update in model.updates("touch").items():
        torch.testing.assert_close(update.values.grad, modules[name].weight.grad @ update.basis, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("options", STRUCTURES.values(), ids=STRUCTURES)
def test_training_moves_no_critical_weight_by_a_bit(options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(), **options)
    base = {name: p.clone() for name, p in tiny_llama().named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for batch in token_batches(20):
        optimizer.zero_grad()
        loss(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    logits(model)
    for name, parameter in model.base_model.named_parameters():
        assert ".updates." in name or parameter.equal(base[name]), name
    masks = model.masks("touch")
    merged, moved = dict(model.merge_and_unload().named_parameters()), 0
    for name, parameter in merged.items():
        mask = masks.get(name.removesuffix(".weight"))
        marked = torch.zeros_like(parameter, dtype=torch.bool) if mask is None else mask.bitmap()
        assert parameter[~marked].equal(base[name][~marked]), name
        moved += int((parameter[marked] != base[name][marked]).sum())
    assert moved > 0.9 * sum(mask.count for mask in masks.values())


class DataWriting(torch.optim.Optimizer):
    """Old style: writes through `.data`, which leaves no trace in a tensor's version."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad.data, alpha=-group["lr"])


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (torch.optim.AdamW, {"foreach": True}),
        (torch.optim.AdamW, {"fused": True}),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.Adafactor, {}),
        (DataWriting, {"lr": 1.0}),
    ],
)
def test_any_optimizer_is_heeded(make: Callable[..., Any], options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(), structure="rows")
    before = logits(model)
    train(model, make=make, **options)
    after = logits(model)
    assert not after.equal(before)
    torch.testing.assert_close(after, logits(model.merge_and_unload()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_merged_is_plain_and_gives_the_same(options: dict[str, Any]) -> None:
    plain = tiny_llama()
    model = dormant(tiny_llama(), **options)
    train(model)
    before = logits(model)
    merged = model.merge_and_unload()
    assert [(n, type(m)) for n, m in merged.named_modules()] == [(n, type(m)) for n, m in plain.named_modules()]
    assert {n: p.shape for n, p in merged.state_dict().items()} == {n: p.shape for n, p in plain.state_dict().items()}
    after = logits(merged)
    assert (after - before).norm() <= 1e-6 * before.norm()
    assert not after.equal(logits(plain))


@pytest.mark.parametrize("structure", ALL)
def test_unloading_a_trained_model_gives_the_base_bit_for_bit(structure: str) -> None:
    base = tiny_llama()
    expected = {name: value.clone() for name, value in base.state_dict().items()}
    model = dormant(base, **ALL[structure])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    loss(model).backward()
    optimizer.step()
    moved = logits(model)
    plain = model.unload()
    assert not torch.equal(logits(plain), moved)
    assert list(plain.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_taking_it_away_leaves_the_base_bit_for_bit(options: dict[str, Any], dtype: torch.dtype) -> None:
    plain = tiny_llama().to(dtype)
    model = dormant(tiny_llama().to(dtype), **options)
    train(model)
    with model.disable_adapter():
        assert logits(model).equal(logits(plain))
    assert not logits(model).equal(logits(plain))
    model.uninstall("touch")
    assert all(a.equal(b) for a, b in zip(model.base_model.parameters(), plain.parameters(), strict=True))
    assert not list(dormant_linears(model.base_model))


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_two_sensors_do_not_touch_each_other(options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(), **options)
    train(model)
    first = {name: update.values.detach().clone() for name, update in model.updates("touch").items()}
    model = pa.get_dormant_model(
        model, pa.DormantConfig(**{"density": 0.25, **options}), token_batches(), sensor="glove"
    )
    train(model)
    for name, update in model.updates("touch").items():
        assert update.values.equal(first[name])
        other = model.updates("glove")[name]
        if options["structure"] == "directions":
            assert (update.basis.mT @ other.basis).abs().max() < 1e-5
        else:
            assert not (update.bitmap() & other.bitmap()).any()
    model.uninstall("touch")
    model.uninstall("glove")
    assert all(a.equal(b) for a, b in zip(model.base_model.parameters(), tiny_llama().parameters(), strict=True))


def test_an_overlap_is_refused_and_nothing_is_left_behind() -> None:
    model = dormant(tiny_llama(), structure="rows")
    masks = model.masks("touch")
    with pytest.raises(DormantError, match=r"sensor 'glove' and 'touch' share 256 weights"):
        pa.get_dormant_model(model, pa.DormantConfig(structure="rows"), sensor="glove", masks=masks)
    assert list(model.dormant) == ["touch"]
    assert all(list(layer.updates) == ["touch"] for _, layer in dormant_linears(model))


@pytest.mark.parametrize("name", ["", ".touch", "a.b", "items", "__class__", "a\nb"])
def test_a_sensor_that_no_module_can_be_called_by_is_refused_before_anything_changes(name: str) -> None:
    base = tiny_llama()
    with pytest.raises(DormantError, match="give a plain name"):
        pa.get_dormant_model(base, pa.DormantConfig(score="magnitude", structure="rows"), sensor=name)
    assert not list(dormant_linears(base))
    assert all(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize("options", STRUCTURES.values(), ids=STRUCTURES)
def test_a_backward_pass_is_of_its_own_forward_pass_or_raises(options: dict[str, Any]) -> None:
    model, undisturbed = dormant(tiny_llama(), **options), dormant(tiny_llama(), **options)
    kept = loss(model)
    loss(undisturbed).backward()
    with torch.no_grad():
        for update in model.updates("touch").values():
            update.values.add_(0.1)
    logits(model)
    try:
        kept.backward()
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
        return
    for name, update in model.updates("touch").items():
        assert update.values.grad.equal(undisturbed.updates("touch")[name].values.grad)


def test_checkpointing_changes_nothing() -> None:
    plain, model = dormant(tiny_llama(), structure="rows"), dormant(tiny_llama(), structure="rows")
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for each in (plain, model):
        each.train()
        train(each)
        loss(each).backward()
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        assert one.equal(other)
        assert one.grad is None or one.grad.equal(other.grad)


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_autocast_trains_float32_masters(options: dict[str, Any]) -> None:
    if options["structure"] == "directions":  # along the least used ones rounding is all there is
        options = {**options, "choose": "highest"}
    model = dormant(tiny_llama(), **options)
    with torch.autocast("cpu", torch.bfloat16):
        loss(model).backward()
    exact = dormant(tiny_llama(), **options)
    loss(exact).backward()
    for name, update in model.updates("touch").items():
        wanted = exact.updates("touch")[name].values.grad
        assert update.values.grad.dtype == torch.float32
        assert (update.values.grad - wanted).norm() < 0.1 * wanted.norm()


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_accumulation_adds_up(options: dict[str, Any]) -> None:
    once, twice = dormant(tiny_llama(), **options), dormant(tiny_llama(), **options)
    first, second = token_batches(2)
    (loss(once, first) + loss(once, second)).backward()
    loss(twice, first).backward()
    loss(twice, second).backward()
    for one, other in zip(once.parameters(), twice.parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("options", ALL.values(), ids=ALL)
def test_a_copy_trains_on_its_own(options: dict[str, Any]) -> None:
    model = dormant(tiny_llama(), **options)
    train(model)
    before = logits(model)
    twin = copy.deepcopy(model)
    assert logits(twin).equal(before)
    train(twin)
    train(model)
    torch.testing.assert_close(logits(twin), logits(model), rtol=1e-5, atol=1e-6)
    with twin.disable_adapter():
        assert logits(twin).equal(logits(tiny_llama()))
    twin.uninstall("touch")
    assert all(a.equal(b) for a, b in zip(twin.base_model.parameters(), tiny_llama().parameters(), strict=True))


def test_state_dicts_carry_the_updates() -> None:
    model, other = dormant(tiny_llama(), structure="rows"), dormant(tiny_llama(), structure="rows")
    train(model)
    logits(other)
    other.load_state_dict(model.state_dict())
    assert logits(other).equal(logits(model))


def test_it_compiles() -> None:
    model = dormant(tiny_llama(), structure="rows")
    plain = loss(model)
    plain.backward()
    wanted = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    compiled = torch.compile(model, backend="aot_eager")
    loss(compiled).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, wanted[name])


def test_other_linear_classes_and_ties_are_refused() -> None:
    attention = nn.ModuleDict({"up_proj": nn.Linear(8, 8), "layers": nn.ModuleList([nn.MultiheadAttention(8, 2)])})
    with pytest.raises(DormantError, match="NonDynamicallyQuantizableLinear is no plain"):
        pa.get_dormant_model(attention, pa.DormantConfig(score="magnitude", target_modules=("up_proj", "out_proj")))
    assert not list(dormant_linears(attention))
    with pytest.raises(DormantError, match=r"lm_head.weight is tied to model.embed_tokens"):
        pa.get_dormant_model(tiny_llama(tie_word_embeddings=True), pa.DormantConfig(target_modules="lm_head"))


def test_names_that_the_model_lacks_are_refused() -> None:
    with pytest.raises(
        DormantError, match=r"target_modules='q_prj': the model has no such linear layer. Did you mean 'q_proj'"
    ):
        dormant(tiny_llama(), target_modules=("q_prj",))
    with pytest.raises(DormantError, match=r"layers_to_transform: 2 is no layer of 2"):
        dormant(tiny_llama(), layers_to_transform=(2,))
    with pytest.raises(DormantError, match=r"score='magnitud'.*Did you mean 'magnitude'"):
        dormant(tiny_llama(), score="magnitud")


def test_layers_and_modules_are_chosen_as_in_peft() -> None:
    model = dormant(tiny_llama(layers=3), target_modules=("q_proj", "up_proj"), layers_to_transform=(0, -1))
    assert list(model.updates("touch")) == [
        f"model.layers.{i}.{name}" for i in (0, 2) for name in ("self_attn.q_proj", "mlp.up_proj")
    ]
    model = dormant(tiny_llama(), target_modules="all-linear", exclude_modules=("down_proj",))
    assert len(model.updates("touch")) == 12
    model = dormant(tiny_llama(), target_modules=r".*\.1\.mlp\..*")
    assert len(model.updates("touch")) == 3


def test_it_generates_like_the_merged_model() -> None:
    model = dormant(tiny_llama(), structure="rows")
    train(model, 4, lr=0.1)
    prompt = token_batches()[0]["input_ids"][:1]
    spoken = model.generate(prompt, max_new_tokens=6, do_sample=False)
    assert spoken.equal(model.merge_and_unload().generate(prompt, max_new_tokens=6, do_sample=False))
    assert isinstance(model, DormantModel)
    assert not any(isinstance(m, DormantLinear) for m in model.modules())


def test_updates_act_in_a_base_that_is_spread_over_devices() -> None:
    hooks = pytest.importorskip("accelerate.hooks")
    base = tiny_llama()
    for module in base.modules():
        if isinstance(module, nn.Linear):  # as `device_map` does
            hooks.add_hook_to_module(module, hooks.AlignDevicesHook(execution_device="cpu"))
    before = logits(base)
    model, plain = dormant(base, structure="rows"), dormant(tiny_llama(), structure="rows")
    train(model)
    train(plain)
    assert logits(model).equal(logits(plain))
    assert not logits(model).equal(before)
    assert logits(model.unload()).equal(before)


def test_a_layer_whose_forward_was_replaced_is_refused_before_anything_changes() -> None:
    base = tiny_llama()
    layer = base.model.layers[1].mlp.up_proj
    layer.forward = layer.forward
    with pytest.raises(DormantError, match=r"forward was replaced, and updates would not act"):
        dormant(base, structure="rows")
    assert not list(dormant_linears(base))
    assert layer.weight.requires_grad


def test_matrices_train_whole() -> None:
    model = dormant(tiny_llama(), structure="matrices", target_modules=("gate_proj", "up_proj"))
    linears = [m for n, m in tiny_llama().named_modules() if n.endswith(("gate_proj", "up_proj"))]
    assert model.trainable()[0] == sum(m.weight.numel() for m in linears)
    train(model)
    assert all(not values.equal(base) for values, base in values_and_base(model))


def values_and_base(model: DormantModel) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The values that stand in place of the base's own entries, and those."""
    modules = dict(model.base_model.named_modules())
    for name, update in model.updates("touch").items():
        yield update.values, update.take(modules[name].weight)


def test_owl_settings_are_heard() -> None:
    options = {"structure": "rows", "budget": "owl", "score": "wanda", "owl_outlier": 1.5}
    counts = {u.count / (u.shape[0] * u.shape[1]) for u in dormant(tiny_llama(), **options).updates("touch").values()}
    assert len(counts) > 3
    counts = {len(u.index) for u in dormant(tiny_llama(), **options, owl_spread=0.0).updates("touch").values()}
    assert counts == {4, 8, 12}  # a quarter of 16, 32 and 48 rows


def test_too_little_calibration_data_is_refused_for_directions() -> None:
    with pytest.raises(DormantError, match=r"calibration is too small: .*q_proj saw 22 tokens, and has 32 inputs"):
        pa.get_dormant_model(tiny_llama(), pa.DormantConfig(structure="directions"), token_batches(1))
    with pytest.raises(DormantError, match="score='directions' looks at data"):
        pa.get_dormant_model(tiny_llama(), pa.DormantConfig(structure="directions"))


def test_a_base_quantised_in_an_unknown_form_is_refused() -> None:
    base = tiny_llama()
    up = base.model.layers[0].mlp.up_proj
    up.weight = nn.Parameter(up.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(DormantError, match=r"up_proj is a Linear .* of torch.int8: of quantised bases"):
        dormant(base, structure="rows", score="magnitude")
    assert not list(dormant_linears(base))


def test_a_lightning_run_trains_it_and_resumes_exactly(tmp_path: Path) -> None:
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Task(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = dormant(tiny_llama(), structure="rows")

        def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
            return loss(self.model, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)

    def fit(checkpoint: Path | None = None) -> Task:
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            callbacks=ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1) if checkpoint is None else None,
            enable_checkpointing=checkpoint is None,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=0.5,
            accumulate_grad_batches=2,
        )
        task = Task()
        trainer.fit(task, torch.utils.data.DataLoader(token_batches(4), batch_size=None), ckpt_path=checkpoint)
        return task

    whole, resumed = fit(), fit(tmp_path / "epoch=0.ckpt")
    assert all(not values.equal(base) for values, base in values_and_base(whole.model))
    for name, update in whole.model.updates("touch").items():
        assert update.values.equal(resumed.model.updates("touch")[name].values)
    assert logits(whole.model).equal(logits(resumed.model))


def test_the_hugging_face_trainer_trains_it(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    model = dormant(tiny_llama(), structure="weights")
    rows = [{"input_ids": ids, "labels": ids} for batch in token_batches() for ids in batch["input_ids"]]
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        weight_decay=0.1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=rows).train()
    assert all(not values.equal(base) for values, base in values_and_base(model))
    model.uninstall("touch")
    assert all(a.equal(b) for a, b in zip(model.base_model.parameters(), tiny_llama().parameters(), strict=True))


def test_inference_mode_sees_the_trained_values() -> None:
    model = dormant(tiny_llama(), structure="rows")
    train(model)
    with torch.inference_mode():
        first = model(**token_batches()[0]).logits.clone()
    train(model)
    wanted = logits(model)
    assert not wanted.equal(first)
    with torch.inference_mode():
        assert model(**token_batches()[0]).logits.equal(wanted)


def test_a_pickled_model_comes_back(tmp_path: Path) -> None:
    model = dormant(tiny_llama(), structure="weights")
    train(model)
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    assert logits(again).equal(logits(model))
    train(again)
    train(model)
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-5, atol=1e-6)
