"""Whether a model is the base that a sensor pack was made for, in whatever numbers it is kept.

Class and embedding table tell it, which no quantisation touches: by SHA-256 in the same dtype, in another by what both
say of the original (`pairalign.dormant.fitting`). A delta looks at the weights that it changes by itself.

Note:
    Fine-tunes that leave the embedding table alone are one base to a pack without a delta; and answers were measured in
    the numbers that the manifest names, which is said where they are others.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pairalign.core.errors import PackError
from pairalign.dormant.fitting import ALL, agreement, cells_of
from pairalign.dormant.linears import decoder_prefix
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import fingerprint
from pairalign.dormant.quantised import form_of
from pairalign.export.manifest import MERGED, Manifest
from pairalign.files import save_tensors
from pairalign.sensors.model import SensorModel
from pairalign.sensors.sensor import embedding_of

CELLS, EMBEDDING = "base.safetensors", "embedding"


def base_of(model: SensorModel) -> dict[str, str]:
    """What tells a base from another: its class, the dtype, how its decoder is quantised if it is, and the SHA-256 of
    its embedding table."""
    llm = _base(model)
    weight, form = embedding_of(llm).weight, _form(llm)
    found = {"class": type(llm).__name__, "dtype": str(weight.dtype).removeprefix("torch.")}
    return {**found, EMBEDDING: fingerprint(weight), **({"form": form} if form else {})}


def write_cells(model: SensorModel, folder: Path) -> None:
    """Keep in a pack what tells its base in another dtype."""
    save_tensors(folder / CELLS, {EMBEDDING: cells_of(embedding_of(_base(model)).weight)}, {"format": "pt"})


def check_base(manifest: Manifest, model: SensorModel, folder: Path) -> None:
    """Raise `PackError` for another base; warn of the same one in other numbers, unless a delta will."""
    mine, wanted = base_of(model), manifest.base
    if manifest.whole:
        raise PackError(
            f"pack {str(folder)!r}: method {manifest.method!r} changed the model's own weights, and this "
            f"{mine['class']} has others: load {str(folder / MERGED)!r} as the base."
        )
    same = mine["dtype"] == wanted["dtype"]
    fits = mine[EMBEDDING] == wanted[EMBEDDING] if same else _agrees(folder, embedding_of(_base(model)).weight)
    if mine["class"] != wanted["class"] or not fits:
        raise PackError(
            f"pack {str(folder)!r} was made for the base {wanted['name']!r} ({wanted['class']} in {wanted['dtype']}), "
            f"and this {mine['class']} in {mine['dtype']} is another: load that base."
        )
    if manifest.delta is None and (not same or mine.get("form") != wanted.get("form")):
        warnings.warn(
            f"pack {str(folder)!r} was made on its base in {_numbers(wanted)}, and this one is in {_numbers(mine)}: "
            "what was measured was measured there. Measure again.",
            stacklevel=4,
        )


def _agrees(folder: Path, weight: Tensor) -> bool:
    """Whether the embedding tables agree in different dtypes; packs of earlier versions do not say."""
    if not (folder / CELLS).is_file():
        return False
    try:
        kept = load_file(folder / CELLS)[EMBEDDING]
    except (SafetensorError, OSError, KeyError) as error:
        raise PackError(f"{folder / CELLS} is damaged ({error}): copy the pack again.") from error
    return agreement(kept, cells_of(weight)) >= ALL


def _base(model: SensorModel) -> nn.Module:
    return model.llm.base_model if isinstance(model.llm, DormantModel) else model.llm


def _form(llm: nn.Module) -> str | None:
    """How the linear layers of the text decoder are quantised."""
    inner = llm.get_submodule(decoder_prefix(llm))
    return next((f for m in inner.modules() if isinstance(m, nn.Linear) and (f := form_of(m.weight))), None)


def _numbers(base: dict[str, str]) -> str:
    form = base.get("form")
    return f"{base['dtype']}, linear layers in {form}" if form else base["dtype"]
