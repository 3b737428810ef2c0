"""What a run was made with: versions of Python and packages, the seed, the commit of the folder it was started in."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pairalign.files import write_json

PACKAGES = ("pairalign", "torch", "lightning", "transformers", "open_clip_torch", "torch-geometric", "webdataset")


def write_versions(folder: Path, config: Any) -> None:
    """Record versions, seed and git commit beside the run."""
    record: dict[str, Any] = {"python": platform.python_version(), "seed": config.seed, "git": git_commit()}
    for package in PACKAGES:
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            record[package] = None
    write_json(folder / "versions.json", record, indent=2)


def git_commit(file: Path | None = None) -> str | None:
    """Commit of the working directory, or of the repository that keeps `file`, with `+` where it has uncommitted
    changes; `None` outside a repository."""
    try:
        options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10}
        if file is not None:
            options["cwd"] = file.parent
            if subprocess.run(["git", "ls-files", "--error-unmatch", file.name], **options).returncode:
                return None
        head = subprocess.run(["git", "rev-parse", "HEAD"], **options)
        dirty = subprocess.run(["git", "status", "--porcelain"], **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else None
