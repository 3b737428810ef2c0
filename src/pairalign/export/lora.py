"""A run's update as a PEFT LoRA folder, `adapter_config.json` and `adapter_model.safetensors`: `ΔW = B A`, exactly.

    rows        B (out, k) puts each row of A, the difference (k, in), in its place
    columns     A (k, in) takes each column's input, B is the difference (out, k)
    directions  B and Aᵀ are those of the update
    entries     as whole rows or columns, where few enough of them hold any

Ranks differ from layer to layer (`rank_pattern`), the scaling is 1 in all.

Note:
    Who loads it applies it at every token, as a merged model does, whatever the run was trained to do; the bridge and
    the encoder of the sensor are not in it. What is of full rank is refused: it would be larger than the weight.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairalign.core.errors import PackError
from pairalign.dormant.directions import Direction
from pairalign.dormant.layer import DormantLinear, dormant_linears
from pairalign.dormant.model import DormantModel
from pairalign.dormant.updates import Columns, Replacement, Rows
from pairalign.export.local import name_base
from pairalign.export.merged import merged_lines
from pairalign.files import save_tensors, write_text
from pairalign.finetune.load import RecomposeRun
from pairalign.sharding import whole

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # before a module's name, in PEFT's files
TOKENS, SEED = 24, 0  # of the text that both models are asked to read
ROUNDED = 4.0  # steps of the base's dtype that a weight may lie apart
NEAR = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""How far logits may lie apart, of the largest: a merged weight is rounded to the base's dtype, and sums have another
order."""


class Factors(NamedTuple):
    """a: (r, in). b: (out, r). Both float32."""

    a: Tensor
    b: Tensor

    @property
    def rank(self) -> int:
        """r."""
        return len(self.a)


def check_lora(llm: nn.Module) -> dict[str, Factors]:
    """The factors of every changed layer by module name; raise `PackError` where there are none, or PEFT is missing."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise PackError("--lora needs PEFT, to check what it writes: pip install 'pairalign[peft]'.") from error
    if not isinstance(llm, DormantModel):
        raise PackError(
            "--lora: the run left no update beside the base's weights: only method 'dormant' does. Leave it out."
        )
    found = {}
    for name, layer in dormant_linears(llm.base_model):
        parts = [_factors(name, layer, update) for update in layer.acting()]
        made = Factors(torch.cat([part.a for part in parts]), torch.cat([part.b for part in parts], 1))
        rows, columns = layer.out_features, layer.in_features
        if made.rank >= min(rows, columns):
            raise PackError(
                f"--lora: the change of {name} has rank {made.rank} as it is stored, of at most {min(rows, columns)} "
                f"that a weight of {rows} × {columns} can have, and LoRA's factors would be "
                f"{made.rank * (rows + columns) / (rows * columns):.1f} times as large as the weight: take --merge, or "
                "train rows, columns or directions at a lower density."
            )
        found[name] = made
    return found


def _factors(name: str, layer: DormantLinear, update: Replacement | Direction) -> Factors:
    """Of one update of a layer."""
    if isinstance(update, Direction):
        values = whole(update.values.detach())
        return Factors(update.basis.mT.float().cpu().contiguous(), values.float().cpu().contiguous())
    base = layer.base_weight()
    changed = base.clone()
    update.put_(changed, whole(update.values.detach()))
    change = (changed.float() - base.float()).cpu()
    if isinstance(update, Rows):
        return _of_rows(change, update.index.cpu())
    if isinstance(update, Columns):
        return _of_columns(change, update.index.cpu())
    rows, columns = (change.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return _of_rows(change, rows) if len(rows) <= len(columns) else _of_columns(change, columns)


def _of_rows(change: Tensor, index: Tensor) -> Factors:
    places = torch.zeros(change.shape[0], len(index))
    places[index, torch.arange(len(index))] = 1
    return Factors(change[index].contiguous(), places)


def _of_columns(change: Tensor, index: Tensor) -> Factors:
    places = torch.zeros(len(index), change.shape[1])
    places[torch.arange(len(index)), index] = 1
    return Factors(places, change[:, index].contiguous())


def write_lora(
    run: RecomposeRun,
    merged: nn.Module,
    factors: Mapping[str, Factors],
    folder: Path,
    name: str,
    told: dict[str, Any],
) -> None:
    """Write a folder that will be called `name`, load it in PEFT, and compare; raise `PackError` where that is not the
    merged model. told: what was measured of that, see `measure_merged`."""
    from peft import LoraConfig

    llm, base = run.model.llm, name_base(run.config.base)["name"]
    assert isinstance(llm, DormantModel)
    ranks = {re.escape(name): made.rank for name, made in factors.items()}
    most = max(ranks.values())
    config = LoraConfig(
        r=most,
        lora_alpha=most,
        target_modules=list(factors),
        rank_pattern=ranks,
        alpha_pattern=dict(ranks),
        base_model_name_or_path=base,
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    tensors = {}
    for name, made in factors.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"], tensors[f"{PREFIX}{name}.lora_B.weight"] = made.a, made.b
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    write_text(folder / "README.md", _page(name, run, base, factors, told))
    check_written(llm, merged, folder)


@torch.no_grad()
def check_written(llm: DormantModel, merged: Any, folder: Path) -> None:
    """Raise `PackError` unless PEFT makes of a folder and the base the merged model: weights, and logits of a text."""
    from peft import PeftModel

    names, ids = [name for name, _ in dormant_linears(llm.base_model)], _some_text(llm)
    base: Any = copy.deepcopy(llm).unload().eval()
    dtype = base.get_submodule(names[0]).weight.dtype
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a base that is no hub name is not looked up there
        loaded: Any = PeftModel.from_pretrained(base, str(folder)).eval()
    for name in names:
        layer, wanted = loaded.base_model.model.get_submodule(name), merged.get_submodule(name).weight.float()
        found = layer.base_layer.weight.float() + layer.get_delta_weight("default").float()
        _check_near(f"{name}.weight", found, wanted, ROUNDED * torch.finfo(dtype).eps)
    _check_near("the logits of a text", loaded(input_ids=ids).logits, merged(input_ids=ids).logits, NEAR[dtype])


def _check_near(what: str, found: Tensor, wanted: Tensor, near: float) -> None:
    apart = float((found.float() - wanted.float()).abs().max() / wanted.float().abs().max())
    if not apart <= near:
        raise PackError(
            f"--lora: PEFT loads it to another model than the merged one: {what} differ by {apart:.1e} of the largest "
            f"value, and rounding is {near:.0e}: nothing was written; take --merge."
        )


def _some_text(llm: DormantModel) -> Tensor:
    """Ids (1, T) of ordinary tokens, the same every time."""
    config: Any = llm.config.get_text_config()
    device = next(llm.parameters()).device
    taken = {value for key, value in vars(llm.config).items() if key.endswith(("_token_id", "_token_index"))}
    drawn = torch.randint(0, config.vocab_size, (8 * TOKENS,), generator=torch.Generator().manual_seed(SEED)).tolist()
    return torch.tensor([[token for token in drawn if token not in taken][:TOKENS]], device=device)


def _page(name: str, run: RecomposeRun, base: str, factors: Mapping[str, Factors], told: dict[str, Any]) -> str:
    """README.md of the folder."""
    behind, sensor = run.config.dormant.acts == "sensor", ", ".join(run.model.sensors)
    measured = "\n".join(merged_lines({**run.results, **told}, behind=behind))
    most, least = max(f.rank for f in factors.values()), min(f.rank for f in factors.values())
    trained = (
        "**It was trained to act from the sensor's first token on; here it acts everywhere**, also on prompts without "
        "the sensor, which the run itself leaves as the base's: this is another model than what was trained and "
        "measured."
        if behind
        else "It was trained so."
    )
    return f"""# LoRA of {sensor} for {base}

The update of the language model in this run, as PEFT's LoRA: `ΔW = B A` in {len(factors)} layers, ranks {least} to
{most}, scaling 1, float32. Loaded in PEFT it was compared with the merged model before it was named `{name}`.

```python
from peft import PeftModel

model = PeftModel.from_pretrained(base, "{name}")
```

- A server that loads LoRA applies it **at every token** of every prompt that asks for it. {trained}
- What acts from a token on is called **activated LoRA** (arXiv:2504.12397): a server that has it keeps the base for the
  tokens before. The sensor pack does so by itself.
- **The sensor's encoder and its bridge are not in it.** They are in the sensor pack, and without them nothing reads the
  sensor.
- Ranks differ from layer to layer (`rank_pattern`), and a server has to allow the largest, {most}.

## Measured

The figures are of the merged model, which answers alike.

{measured}
"""
