"""`SensorPack` and `PublishedRun`: what `push_to_hub` sends and `from_pretrained` fetches, as files.

    SensorPack("packs/touch").push_to_hub("org/touch", private=True)
    model, processor = SensorPack.from_pretrained("org/touch", revision="v1").load()
    PublishedRun.from_pretrained("org/space").open().embed("touch", "gel.png")

Note:
    A push makes the repository hold these files and no others, so that a part of an earlier version is never mixed with
    this one. Plugins are code and are never pushed: whoever fetches names their own copy.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin

from pairalign.align.run import AlignRun, load_aligned
from pairalign.core.errors import HubError, PairalignError
from pairalign.core.limits import parse_json, read_bytes
from pairalign.export.card import write_card
from pairalign.export.checked import check_merged
from pairalign.export.manifest import MERGED, NAME, Manifest, find_base, read_manifest, write_manifest
from pairalign.export.sensor_pack import load_sensor_model
from pairalign.files import sha256_file
from pairalign.hub.packs import find_pack
from pairalign.hub.place import RUN, find_run, first_line
from pairalign.hub.run_files import write_run
from pairalign.runtime import DeviceLike
from pairalign.sensors.model import SensorModel
from pairalign.sensors.processor import PLAIN, Loading, SensorProcessor

CARD = "README.md"


class Published(ModelHubMixin, library_name="pairalign"):
    """A folder of this machine that the Hub may hold, too.

    Args:
        folder: where it is.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @abstractmethod
    def _write(self, folder: Path, name: str) -> None:
        """Write what is published into an empty folder, with a card that calls it `name`."""

    @classmethod
    @abstractmethod
    def _find(cls, place: str | Path, **options: Any) -> Path:
        """The folder of what is called so, fetched where that is the Hub."""

    def sizes(self, name: str, folder: Path) -> dict[str, int]:
        """Bytes of every file that a push would send, by name; they are written to tell.

        Args:
            name: `ORG/NAME` that the card would say.
            folder: an empty one, to write them into.
        """
        self._write(folder, name)
        return {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}

    def push_to_hub(self, repo_id: str, **options: Any) -> str:  # type: ignore[override]
        """Push, and return the address of the commit.

        Args:
            repo_id: `ORG/NAME`; made if it is not there.
            **options: of `huggingface_hub.ModelHubMixin.push_to_hub`, such as private, token, branch, create_pr.

        Raises:
            HubError: the Hub refused it, or cannot be reached.
            PackError: the pack here is not what was written.
            CheckpointError: the run here is unfinished or damaged.
        """
        options = {"delete_patterns": "*", "commit_message": f"Push with pairalign: {self.folder.name}", **options}
        self._name = repo_id
        try:
            return str(super().push_to_hub(repo_id, **options))
        except PairalignError:
            raise
        except Exception as error:  # kinds of the HTTP client, which is another one from version to version
            fix = "check its name, and log in with `hf auth login`"
            raise HubError(f"{repo_id!r} could not be pushed ({first_line(error)}): {fix}.") from error

    def _save_pretrained(self, save_directory: Path) -> None:
        self._write(Path(save_directory), getattr(self, "_name", self.folder.name))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        return cls(cls._find(model_id, **options))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:  # type: ignore[override]
        """Find a folder, or fetch `ORG/NAME[@REVISION]` from the Hub.

        Args:
            pretrained_model_name_or_path: either of these.
            **options: revision, token, cache_dir, force_download, local_files_only, as huggingface_hub has them.

        Raises:
            HubError: it is neither here nor to be had from the Hub.
        """
        return cls._from_pretrained(model_id=str(pretrained_model_name_or_path), **options)


class SensorPack(Published, tags=["sensor-pack"]):
    """A sensor pack that `pairalign export` wrote.

    Args:
        folder: where it is; for a name on the Hub see `from_pretrained`.

    Raises:
        PackError: it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self.manifest = read_manifest(folder)

    def load(
        self,
        base: str | None = None,
        *,
        dtype: str | None = None,
        device: DeviceLike = "cpu",
        loading: Loading = PLAIN,
    ) -> tuple[SensorModel, SensorProcessor]:
        """The base with this pack installed, and its processor; see `load_sensor_model`.

        Args:
            base: hub name or folder; by default what the pack was made for.
            dtype: of the base's weights; by default that which the pack was made for.
            device: where all of it goes.
            loading: how the base is loaded.

        Raises:
            PackError: the pack does not fit the base.
        """
        named = find_base(self.folder, base, trust_remote_code=loading.trust_remote_code)
        return load_sensor_model(named, [self.folder], dtype=dtype, device=device, loading=loading)

    def _write(self, folder: Path, name: str) -> None:
        """The pack's own files, its card made anew for its name there, and the manifest with the card's hash."""
        manifest = read_manifest(self.folder)
        if manifest.merged:
            check_merged(self.folder, MERGED, manifest.files, self.folder / NAME)
        for file in manifest.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / file, folder / file)
        path = folder / "results.json"
        results = parse_json(read_bytes(path, "table"), name="table") if path.is_file() else {}
        write_card(manifest, results, folder, name)
        files = {**manifest.files, CARD: sha256_file(folder / CARD)}
        write_manifest(Manifest(**{**vars(manifest), "files": files}), folder)

    @classmethod
    def _find(cls, place: str | Path, **options: Any) -> Path:
        return find_pack(place, **options)


class PublishedRun(Published, tags=["aligned-sensors"]):
    """A finished run of `pairalign align`: its configuration without this machine's places, weights and figures.

    Args:
        folder: where it is; for a name on the Hub see `from_pretrained`.
    """

    def open(self, device: DeviceLike = "cpu", *, plugins: Sequence[str | Path] = ()) -> AlignRun:
        """The run, loaded; see `load_aligned`.

        Args:
            device: where the aligner goes.
            plugins: files that register its encoders.

        Raises:
            CheckpointError: it is unfinished or damaged.
        """
        return load_aligned(self.folder, device, plugins=plugins)

    def _write(self, folder: Path, name: str) -> None:
        """Configuration, weights, figures and a card."""
        write_run(self.folder, folder, name)

    @classmethod
    def _find(cls, place: str | Path, **options: Any) -> Path:
        return find_run(place, **options)


def published(folder: str | Path) -> Published:
    """What lies in a folder of this machine; raise `HubError` where that is neither a pack nor an aligned run."""
    folder = Path(folder)
    if (folder / NAME).is_file():
        return SensorPack(folder)
    if all((folder / name).is_file() for name in RUN):
        return PublishedRun(folder)
    raise HubError(
        f"{str(folder)!r} is neither a sensor pack (`pairalign export`) nor a run of `pairalign align`: give one."
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
