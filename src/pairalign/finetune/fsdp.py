"""`train.strategy: fsdp2`: the language model's weights, gradients and optimizer state shared out among all processes.

The base is mapped from its files, not read: a process copies its part of one decoder layer after the other, so that it
never holds more than its share, and on an accelerator one whole layer beside it. What a method adds to a layer is made
when its turn comes, and shared out with it. What lies around the layers (vision tower, embeddings, output head) is one
group, gathered in every pass; sensors and bridges are whole in every process.

Note:
    Every pass through the model, and every look at a whole weight, is taken by all processes together, the same number
    of times: a process that runs one batch more than the others waits for ever. What transformers converts while it
    reads (a dtype that the files do not have) is whole in memory until it is shared out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pairalign.align.precision import SAME
from pairalign.core.errors import ConfigError
from pairalign.dormant.cache import keep_scores, score_path
from pairalign.dormant.checkpoint import delta_parts
from pairalign.dormant.choose import Chosen, choose_parts, make_update
from pairalign.dormant.layer import adapt, attach
from pairalign.dormant.linears import decoder_prefix, find_linears
from pairalign.dormant.model import DormantModel
from pairalign.dormant.provenance import origin_of
from pairalign.dormant.receipt import check_base
from pairalign.dormant.selection.select import UNSCORED
from pairalign.dormant.significance import load_scores
from pairalign.finetune.chosen import load_places
from pairalign.finetune.config import RecomposeConfig
from pairalign.finetune.methods import Method
from pairalign.finetune.methods.method import Setup
from pairalign.runtime import Runtime

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

FSDP2 = "fsdp2"
ASKED = f"train.strategy={FSDP2!r}"
METHODS = ("bridge", "dormant", "full", "lora")
PRECISIONS = ("32-true", "bf16-mixed")
OF_WEIGHTS, OF_PASSES = ("magnitude", "random"), ("splash", "wanda")
Share = Callable[..., None]


def is_shared(config: RecomposeConfig, runtime: Runtime) -> bool:
    """Whether a run shares its language model out; one process keeps it whole."""
    return config.train.strategy == FSDP2 and runtime.world > 1


def check_shared(config: RecomposeConfig) -> None:
    """Raise `ConfigError` for what weights in parts cannot do, before anything is loaded."""
    strategy, dormant = config.train.strategy, config.dormant
    if strategy.startswith(("fsdp", "deepspeed", "model_parallel")) and strategy != FSDP2:
        raise ConfigError(f"train.strategy={strategy!r}: stage two shares weights out with {FSDP2!r}.")
    if strategy != FSDP2:
        return
    if config.method not in METHODS:
        raise ConfigError(
            f"{ASKED}: method={config.method!r} keeps whole weights of its own beside the base: give one of "
            f"{', '.join(METHODS)}, or another strategy."
        )
    if SAME.get(config.train.precision, config.train.precision) not in PRECISIONS:
        raise ConfigError(
            f"{ASKED}: train.precision={config.train.precision!r}: give {' or '.join(PRECISIONS)}; dtype says in "
            "which numbers the base is kept."
        )
    if config.device_map is not None:
        raise ConfigError(f"{ASKED}: device_map={config.device_map!r} puts layers elsewhere: leave it out.")
    initial = config.options.get("init_lora_weights", True)
    if config.method == "lora" and initial not in (True, False, "gaussian"):
        raise ConfigError(f"{ASKED}: init_lora_weights={initial!r} rewrites the base: give true or 'gaussian'.")
    by_score = config.method == "dormant" and dormant.structure not in ("matrices", "directions")
    known = (*OF_WEIGHTS, *OF_PASSES)
    if by_score and not config.scores and dormant.score not in known:
        raise ConfigError(
            f"{ASKED}: dormant.score={dormant.score!r} may need gradients of the whole base: write it with `pairalign "
            f"score` and name the file in scores, or give one of {', '.join(known)}."
        )


def loaded_dtype(config: RecomposeConfig) -> torch.dtype | None:
    """What the base's weights are converted to when they are shared out; `None` if they stay as they are stored."""
    return None if config.dtype == "auto" else getattr(torch, config.dtype)


def prepare_shared(
    llm: nn.Module, method: Method, setup: Setup, config: RecomposeConfig, runtime: Runtime
) -> nn.Module:
    """The language model as `method` trains it, shared out; `llm`, whole and mapped from its files, is used up."""
    llm.requires_grad_(False)
    share: Share = partial(share_out, mesh=_mesh(runtime), dtype=loaded_dtype(config))
    if config.method != "dormant":
        prepared = method.prepare(llm, setup._replace(remember=False))  # which would read the base whole
        if config.method == "lora":
            _check_inside(llm, [name for name, p in llm.named_parameters() if p.requires_grad])
        share(llm)
        if setup.remember:
            method.remember(prepared)
        return prepared
    kept = None
    if setup.chosen is not None:
        kept = load_places(setup.chosen, setup.key(), llm, loaded_dtype(config), runtime)
    chosen = _choose(llm, setup, share, config, runtime) if kept is None else Chosen(kept.parts, None, None)
    _check_inside(llm, list(chosen.parts))
    model, modules = DormantModel(llm), dict(llm.named_modules())

    def add_updates(layer: str) -> None:
        for name, part in chosen.parts.items():
            if name.startswith(f"{layer}."):
                linear = adapt(modules[name])  # type: ignore[arg-type]
                update = make_update(linear.weight, part)
                update.sensors = setup.dormant.sensors_of(setup.sensor)
                attach(linear, setup.sensor, update)

    share(llm, before=add_updates)
    model.dormant[setup.sensor] = setup.dormant
    made_by = kept.origin if kept is not None else None
    if made_by is None:
        made_by = origin_of(model.updates(setup.sensor), chosen.scores, chosen.seen, chosen.beside)
    model.origins[setup.sensor] = made_by
    return model


def share_out(
    llm: nn.Module,
    *,
    mesh: DeviceMesh,
    dtype: torch.dtype | None = None,
    before: Callable[[str], None] | None = None,
) -> None:
    """Leave each process its part of every weight: one decoder layer after the other, then what is around them.

    dtype: of floating-point weights; `None` as they are. before: called with a layer's name before it is shared out.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for name in (*decoder_layers(llm), ""):
        module = llm.get_submodule(name)
        _convert(module, dtype)
        if before is not None and name:
            before(name)
        whole = [p for p in module.parameters() if not isinstance(p, DTensor)]
        kinds = sorted({str(p.dtype) for p in whole if p.requires_grad})
        if len(kinds) > 1:
            raise ConfigError(f"{ASKED}: {name or 'the base'} would train {' and '.join(kinds)}: set dtype to one.")
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params={p for p in whole if not p.ndim})
    register_fsdp_forward_method(llm, "generate")  # it looks at pictures before the model's own forward pass
    llm._is_fsdp_managed_module = True  # type: ignore[assignment]  # and goes on until all processes are done


def read_along(llm: nn.Module, before: Mapping[str, str] | None) -> None:
    """What a process that writes nothing has to do while another one writes `llm` and its receipt."""
    if isinstance(llm, DormantModel):
        for sensor in llm.dormant:
            delta_parts(llm, sensor)
    if before is not None:
        check_base(llm, before)


def decoder_layers(llm: nn.Module) -> list[str]:
    """Names of the text decoder's layers; raise `ConfigError` if there are none to be told apart."""
    prefix = decoder_prefix(llm)
    layer = re.compile(rf"{re.escape(prefix)}\.?(?:.*\.)?(?:layers|blocks|h)\.\d+")
    found = [name for name, _ in llm.named_modules() if layer.fullmatch(name)]
    if not found:
        raise ConfigError(f"{ASKED}: base {type(llm).__name__} has no decoder layers to share out one by one.")
    return found


def _choose(llm: nn.Module, setup: Setup, share: Share, run: RecomposeConfig, runtime: Runtime) -> Chosen:
    """What is dormant, the same in every process; scores that look at data do so on a model that is shared out."""
    config, path = setup.dormant, _score_file(llm, setup, run, runtime)
    known = path if path is not None and all(runtime.all_gather_object(path.exists())) else None
    scores = load_scores(file) if (file := setup.scores or known) else None
    if config.structure == "directions":
        looks = config.score != "random"
    else:
        looks = scores is None and config.structure != "matrices" and config.score in OF_PASSES
    shown = llm
    if looks:
        llm = copy.deepcopy(shown, {id(p): p for p in shown.parameters()})  # another model around the same weights
        share(llm)
    chosen = choose_parts(llm, config, setup.calibration, scores, reserved=setup.reserved)
    if path is not None and known is None and chosen.scores is not None:
        if runtime.main:
            linears = find_linears(shown, config.target_modules, config.exclude_modules, config.layers_to_transform)
            how: dict[str, Any] = {"seed": config.seed, "options": config.options}
            keep_scores(path, config.score, chosen.scores, linears, chosen.seen, **how)
        runtime.barrier()
        scores = load_scores(path) if path.exists() else None
    return chosen._replace(scores=scores)  # scores made here would keep the model that they were made on


def _score_file(llm: nn.Module, setup: Setup, run: RecomposeConfig, runtime: Runtime) -> Path | None:
    """Where scores that look at data are kept for other runs; `None` for others, and for a base in another dtype than
    its files', whose scores in them would not be those that it was chosen by."""
    which = setup.dormant
    kept = which.structure not in UNSCORED and which.score in OF_PASSES and not setup.scores
    if setup.cache is None or not kept or loaded_dtype(run) is not None:
        return None
    linears = find_linears(llm, which.target_modules, which.exclude_modules, which.layers_to_transform)
    how: dict[str, Any] = {"seed": which.seed, "options": which.options}
    folder, score = setup.cache, which.score
    return runtime.main_only(lambda: score_path(folder, score, llm, linears, setup.calibration, **how))


def _check_inside(llm: nn.Module, trained: list[str]) -> None:
    """What is around the layers may be used in one process's batch and not in another's, as pictures are."""
    layers = tuple(f"{name}." for name in decoder_layers(llm))
    outside = [name for name in trained if not name.startswith(layers)]
    if outside:
        raise ConfigError(
            f"{ASKED}: {outside[0]} is outside of the decoder's layers, and would wait for batches without pictures: "
            "leave it out of target_modules."
        )


def _convert(module: nn.Module, dtype: torch.dtype | None) -> None:
    """Weights and stored buffers in another dtype, tied ones once; what is shared out already is left."""
    made: dict[int, Tensor] = {}
    for part in module.modules() if dtype is not None else ():
        held = {n: b for n, b in part.named_buffers(recurse=False) if n not in part._non_persistent_buffers_set}
        for name, own in {**held, **dict(part.named_parameters(recurse=False))}.items():
            if isinstance(own, DTensor) or not own.is_floating_point():
                continue
            if id(own) not in made:
                new = own.detach().to(dtype)
                made[id(own)] = nn.Parameter(new, own.requires_grad) if isinstance(own, nn.Parameter) else new
            setattr(part, name, made[id(own)])


def _mesh(runtime: Runtime) -> DeviceMesh:
    from torch.distributed.device_mesh import init_device_mesh

    if runtime.device.index is not None:
        torch.accelerator.set_device_index(runtime.device.index)  # FSDP2 computes on the current device
    mesh = init_device_mesh(runtime.device.type, (runtime.world,))
    _check_average(mesh, runtime.device)
    return mesh


def _check_average(mesh: DeviceMesh, device: torch.device) -> None:
    """Raise `ConfigError` where gradients would be added up that are to be averaged, as torch 2.8 does over gloo."""
    group, mean = mesh.get_group(), torch.empty(1, device=device)
    scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor  # its name before torch 2.14
    scatter(mean, torch.ones(mesh.size(), device=device), dist.ReduceOp.AVG, group)
    if mean.item() != 1:
        raise ConfigError(
            f"{ASKED}: torch {torch.__version__} adds gradients up over {dist.get_backend(group)}, where FSDP2 wants "
            "their mean: take torch 2.11 or later, or another strategy."
        )
