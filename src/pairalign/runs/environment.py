"""What a bug report needs to know of the machine: versions, devices, plugins, variables.

Note: a package that is broken is told apart from one that is missing by importing it; whatever it raises is its line,
and the others are listed all the same. Values of variables that hold secrets are masked.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import sys
import warnings
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, entry_points, version
from pathlib import Path
from typing import Any

from pairalign import __version__
from pairalign.core.author import reason_of
from pairalign.core.registry import GROUP
from pairalign.core.secrets import hide_variable
from pairalign.runs.versions import PACKAGES, git_commit

_MODULES = {"open_clip_torch": "open_clip", "torch-geometric": "torch_geometric"}  # else the package's own name
_RELEVANT = re.compile(
    r"(PAIRALIGN|CUDA|NVIDIA|NCCL|GLOO|OMP|MKL|HF|HUGGING|TRANSFORMERS|TORCH|PYTORCH|TOKENIZERS|SLURM|LSB|WANDB|MLFLOW"
    r"|AWS|GOOGLE|GCS|FSSPEC|XDG_CACHE)_|(MASTER_(ADDR|PORT)|(LOCAL_)?RANK|WORLD_SIZE|LD_LIBRARY_PATH|LD_PRELOAD"
    r"|PYTHON(PATH|WARNINGS|UNBUFFERED)|VIRTUAL_ENV|CONDA_PREFIX|TMPDIR|(HTTPS?|NO|ALL)_PROXY)$",
    re.IGNORECASE,
)


def environment() -> dict[str, Any]:
    """All of it, as plain values."""
    variables = {name: hide_variable(name, value) for name, value in os.environ.items() if _RELEVANT.match(name)}
    return {  # the variables as they were before libraries that are imported here set theirs
        "pairalign": {"version": __version__, "commit": _commit(), "folder": str(_folder())},
        "python": {"version": sys.version.split()[0], "executable": sys.executable},
        "system": _system(),
        "packages": packages(),
        "devices": _devices(),
        "encoders": [_point(point) for point in sorted(entry_points(group=GROUP), key=lambda one: one.name)],
        "variables": dict(sorted(variables.items())),
    }


def packages() -> dict[str, str]:
    """Version by name of what pairalign is made of, of the extras that are there, and what cannot be imported."""
    with suppress(PackageNotFoundError):
        wanted = [re.split(r"[^\w.-]", text)[0] for text in distribution("pairalign").requires or ()]
        names = {name.lower().replace("_", "-"): name for name in [*wanted, *PACKAGES[1:]]}
        return {name: found for name in names.values() if (found := _package(name))}
    return {name: _package(name) or "not installed" for name in PACKAGES[1:]}


def _package(name: str) -> str | None:
    """Its version; with what importing it raises, of those that runs are made with."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return "not installed" if name in PACKAGES else None
    try:
        if name in PACKAGES:
            with warnings.catch_warnings(action="ignore"):
                importlib.import_module(_MODULES.get(name, name))
    except (Exception, SystemExit) as error:
        return f"{found}, cannot be imported: {reason_of(error)}"
    return found


def _devices() -> list[str]:
    """The accelerators, as torch sees them."""
    try:
        import torch

        found = [f"torch is built for {'CUDA ' + torch.version.cuda if torch.version.cuda else 'no CUDA'}"]
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            found.append(
                f"cuda:{index} {about.name}, {about.total_memory / 2**30:.0f} GiB, {about.major}.{about.minor}"
            )
        return [*found, *(["mps"] if torch.backends.mps.is_available() else [])]
    except (Exception, SystemExit) as error:
        return [f"cannot be asked: {reason_of(error)}"]


def _system() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = None
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        memory = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return {"os": platform.platform(), "cpus": os.cpu_count(), "usable_cpus": usable, "memory_gib": memory}


def _folder() -> Path:
    return Path(__file__).resolve().parents[1]


def _commit() -> str | None:
    """Of the source that runs: what pip fetched, else of the repository that holds it."""
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        told = json.loads(distribution("pairalign").read_text("direct_url.json") or "{}")
        if "vcs_info" in told:
            return str(told["vcs_info"].get("commit_id"))
    return git_commit(_folder() / "__init__.py")


def _point(point: Any) -> str:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"
    return f"{point.name} = {point.value} ({package})"
