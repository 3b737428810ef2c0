"""A second device for tests on a machine without one: `mirror`, whose tensors hold one of the CPU's and compute on it.

    with mirrored():                        # from then on the accelerator is "mirror:0"
        nn.Linear(4, 2).to("mirror")(torch.randn(1, 4))   # RuntimeError: mirror and cpu in one operation

Registered with torch through its backend hook for Python, and with Lightning as an accelerator.

Note:
    It is the process's accelerator for good, so run it in a process of its own; an operation that only CUDA refuses,
    such as a generator of another device, is let pass here unless it is named below.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "mirror"
CROSSING = ("copy_", "_to_copy", "index", "_index_put_impl_", "index_put_", "index_put")  # as on CUDA


class Mirror(Tensor):
    """A tensor of the second device; `held` is the CPU's that it computes with."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Mirror:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=f"{NAME}:0",
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(op, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def storage(self) -> Any:
        return self.held.storage()

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Mirror({self.held})"


def compute(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on what the tensors hold; refuse one over both devices."""
    name = op._schema.name.split("::")[1]
    given = tree_leaves((args, kwargs))
    mirrors = [value for value in given if isinstance(value, Mirror)]
    others = [v for v in given if isinstance(v, Tensor) and not isinstance(v, Mirror) and v.dim()]
    if mirrors and others and name not in CROSSING:
        raise RuntimeError(f"{name}: expected all tensors on the same device, found {NAME}:0 and {others[0].device}")
    if name == "_fused_sdp_choice":
        return 0  # plain arithmetic: the kernels of other devices are not there
    asked = kwargs.get("device")
    here = bool(mirrors) if asked is None else torch.device(asked).type == NAME
    held_args, held_kwargs = tree_map(_held, (args, kwargs))
    out = op(*held_args, **held_kwargs)
    back = {id(value.held): value for value in mirrors}

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return back.get(id(value)) if id(value) in back else (Mirror(value) if here else value)

    return tree_map(wrap, out)


def _held(value: Any) -> Any:
    if isinstance(value, Mirror):
        return value.held
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device("cpu")
    return value


class _Module(backend_registration._DummyBackendModule):
    def get_device_name(self, device: Any = None) -> str:
        return "the CPU, as a second device"

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)


_kept: list[Any] = []  # a library that nobody holds is taken back


def register() -> None:
    """Make `mirror` the accelerator of this process, for torch and for Lightning."""
    if _kept:
        return
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda op, *args, **kwargs: compute(op, args, kwargs), "PrivateUse1")
    library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    named = torch.library.Library("aten", "IMPL")  # what makes tensors is not left to kernels that resize afterwards
    for op in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default, *_factories()):
        named.impl(op.name().removeprefix("aten::"), _implementation(op), "PrivateUse1")
    _kept.extend((library, named))
    torch.accelerator.synchronize = lambda device=None: None  # nothing runs behind
    _register_with_lightning()


def _factories() -> Iterator[Any]:
    """Operations that make a tensor of nothing, on a device."""
    for schema in torch._C._jit_get_all_schemas():
        names = {argument.name for argument in schema.arguments}
        tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
        if schema.name.startswith("aten::") and {"device", "layout"} <= names and not tensors:
            packet = getattr(torch.ops.aten, schema.name.removeprefix("aten::"))
            yield getattr(packet, schema.overload_name or "default")


def _implementation(op: Any) -> Any:
    return lambda *args, **kwargs: compute(op, args, kwargs)


def _register_with_lightning() -> None:
    from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry

    class MirrorAccelerator(Accelerator):
        """One mirror."""

        def setup_device(self, device: torch.device) -> None: ...

        def get_device_stats(self, device: Any) -> dict[str, Any]:
            return {}

        def teardown(self) -> None: ...

        @staticmethod
        def parse_devices(devices: Any) -> Any:
            return [0]

        @staticmethod
        def get_parallel_devices(devices: Any) -> list[torch.device]:
            return [torch.device(NAME, 0)]

        @staticmethod
        def auto_device_count() -> int:
            return 1

        @staticmethod
        def is_available() -> bool:
            return True

        @staticmethod
        def name() -> str:
            return NAME

        @classmethod
        def register_accelerators(cls, accelerator_registry: Any) -> None: ...

    AcceleratorRegistry.register(NAME, MirrorAccelerator, description="the second device of the tests")


@contextlib.contextmanager
def watched() -> Iterator[Counter[str]]:
    """Counts "Class device" of every module's forward pass within it, by its own weights and what it is given."""
    seen: Counter[str] = Counter()

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        if type(module).__module__.startswith("torchvision.transforms"):
            return  # a picture is prepared where it is read
        own = [
            t.device.type for t in (*module._parameters.values(), *module._buffers.values()) if t is not None and t.ndim
        ]
        given = [a.device.type for a in args if isinstance(a, Tensor) and a.ndim]
        for kind in {*own, *given}:
            seen[f"{type(module).__name__} {kind}"] += 1

    handle = register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()
