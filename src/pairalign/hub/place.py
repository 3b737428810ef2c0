"""Where a pack or a run is: a folder of this machine, or `ORG/NAME[@REVISION]` on the Hub, fetched into its cache.

Note:
    A folder of that name comes first, so that nothing is asked of the Hub for what lies here. Only the files that a
    pack or a run consists of are fetched, never code, whatever else a repository holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pairalign.core.errors import HubError

NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?")

RUN = ("config.yaml", "model.safetensors")

Get = Callable[[str], Path]
"""One file's name in a repository → where it is in the cache."""


def find_folder(place: str | Path, fetch: Callable[[Get], Iterable[str]], *, what: str, **options: Any) -> Path:
    """The folder of `place`: itself, or where what the Hub has under that name lies once it is fetched.

    fetch: given how one file is fetched, the names of all that are wanted; it may look into the first to tell. what: a
    word for messages, such as "pack". options: of `huggingface_hub.hf_hub_download`: revision, token, cache_dir,
    force_download, local_files_only. What is neither there nor a name of the Hub is left to the reader to refuse. Raise
    `HubError` where the Hub has none of that name, or cannot be reached.
    """
    match = NAME.fullmatch(str(place))
    if match is None or Path(place).exists():
        return Path(place)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    repo, told = match["repo"], options.pop("revision", None)
    revision = match["revision"] or told
    root: Path | None = None

    def get(name: str) -> Path:
        """All that follows the first is of its commit, whatever is pushed meanwhile."""
        nonlocal root
        commit = revision if root is None else root.name
        found = Path(hf_hub_download(repo, name, revision=commit, **options))
        root = root or found.parents[len(Path(name).parts) - 1]
        return found

    try:
        for name in fetch(get):
            get(name)
    except (OSError, HFValidationError) as error:
        raise HubError(
            f"{what} {str(place)!r} is no folder here, and could not be had from the Hub ({first_line(error)}): check "
            "the name and revision; for a private one log in with `hf auth login`."
        ) from error
    assert root is not None
    return root


def find_run(place: str | Path, **options: Any) -> Path:
    """The folder of a run of stage one; `ORG/NAME[@REVISION]` is fetched. options and errors: `find_folder`'s."""
    return find_folder(place, lambda get: RUN, what="run", **options)


def find_sensor_run(run: str, root: str | Path) -> Path:
    """The stage-one run that a configuration names: the folder below `root`, or, where nothing lies there, what
    `ORG/NAME[@REVISION]` is on the Hub. Errors: `find_folder`'s."""
    here = Path(root) / run
    if here.exists() or Path(run).exists() or NAME.fullmatch(run) is None:
        return here  # what lies in the current folder is not what `root` says: the reader refuses it
    return find_run(run)


def folder_name(place: str) -> str:
    """What a folder of what `ORG/NAME@REVISION` names is called here."""
    match = NAME.fullmatch(place)
    return Path(match["repo"] if match else place).name


def first_line(error: BaseException) -> str:
    """What an error says, in a line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_cached(folder: Path) -> bool:
    """Whether a folder is a snapshot in the Hub's cache, where everything is a link to `blobs` beside it."""
    snapshots = folder.resolve().parent
    return snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--")


def in_cache(file: Path, folder: Path) -> bool:
    """Whether a file of a snapshot is one of these."""
    return is_cached(folder) and file.resolve().parent == folder.resolve().parents[1] / "blobs"
