"""Hostile files through every door of pairalign: each refused in one line, with nothing run, written or read outside.

A trial gives one file to one command, in a fork that is watched (`watched`): packing and asking for each kind of
sample; inspecting, evaluating and training on shards that hold it; tars, indexes, manifests, configurations, sensor
packs and run folders that name other places, other programs, or more than any memory holds. It holds where the exit
code is that of a refusal, one line says why, no program was started, no address asked for, nothing of the user's read
or changed, and the process stayed within 1 GiB.

Note:
    The last cases are good files with something hostile beside them, which are accepted, and what is beside them is
    left alone. `--count` takes that many of the cases, drawn by the seed, all by default.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import shutil
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from reliability.hostile_files import SAMPLES, TARS, WHOLE, good, laughs, png
from reliability.watched import Seen, keeps_access_times, watched

COUNT = 1000  # all of them
REFUSED, FINE = (2, 3), (0,)
PEAK = 1.0  # GiB
STORED = ("png", "npy", "json", "txt", "wav")
Make = Callable[[Path, Path, Path], Sequence[str]]  # of inputs, the trial's folder and private files → words


@dataclass(frozen=True)
class Trial:
    """door: what is done. make: leaves the files and gives the command. codes: with which it may end."""

    door: str
    name: str
    make: Make
    codes: tuple[int, ...] = REFUSED


def measure(work: Path, count: int, seed: int) -> dict[str, Any]:
    """Try every file at every door."""
    _prepared(work)
    _warm(work)
    every = [*_samples(), *_shards(), *_indexes(), *_words(), *_packs(), *_runs(), *_beside()]
    chosen = every if count >= len(every) else random.Random(seed).sample(every, count)
    failures, doors, peak = list[str](), dict[str, list[int]](), 0.0
    for trial in tqdm(chosen, desc="hostile", unit="file"):
        found = _try(work, trial)
        reasons = _reasons(found, trial)
        last = (found.said.strip().splitlines() or [""])[-1]
        (work / "said.txt").open("a").write(f"{trial.door}, {trial.name}: {found.code}, {found.peak:.2f} GiB, {last}\n")
        tried = doors.setdefault(trial.door, [0, 0])
        tried[0], tried[1], peak = tried[0] + 1, tried[1] + (not reasons), max(peak, found.peak)
        if reasons:
            failures.append(f"{trial.door}, {trial.name}: {'; '.join(reasons)}")
    return {
        "section": "hostile",
        "what": "hostile files through every door: refused in one line, nothing run, written or read outside",
        "tried": len(chosen),
        "held": len(chosen) - len(failures),
        "failures": failures,
        "settings": {"limits": "defaults", "access times seen": keeps_access_times(work)},
        "peak GiB": peak,
        "rows": [{"door": door, "tried": tried, "held": held} for door, (tried, held) in doors.items()],
    }


def _try(work: Path, trial: Trial) -> Seen:
    home, private = work / "trial", work / "private"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    words = trial.make(work / "inputs", home, private)
    env = {"PAIRALIGN_TRUST": str(home / "trusted"), "HOME": str(home), "TMPDIR": str(home)}
    return watched(words, home, private, env)


def _reasons(found: Seen, trial: Trial) -> list[str]:
    said = found.said.strip().splitlines()
    reasons = list(found.did)
    if found.code not in trial.codes:
        reasons.append(f"exit code {found.code}, {(said or ['silence'])[-1][:150]}")
    elif found.code and not any(line.startswith("pairalign: ") for line in said):
        reasons.append(f"no line of ours: {(said or ['silence'])[-1][:150]}")
    if "Traceback" in found.said:
        reasons.append("a traceback")
    if found.peak > PEAK:
        reasons.append(f"{found.peak:.2f} GiB")
    return reasons


def _extension(name: str) -> str:
    return name.rpartition(".")[2]


def _samples() -> Iterator[Trial]:
    """Files of samples: packed, asked about, and read from shards by whoever reads these."""
    for name in SAMPLES:
        yield Trial("pack", name, _packing(name))
        if name.startswith("stack"):  # of which a shard or a question takes the first picture alone
            continue
        yield Trial("ask", name, _asking(name))
        if _extension(name) in STORED:
            for door in ("inspect", "evaluate", "align"):
                yield Trial(door, name, _reading(door, name))
    yield Trial("pack", "a pipe", _of_pipe)
    yield Trial("pack", "a hole of 4 TiB", _of_hole)


def _packing(name: str) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        shutil.copyfile(inputs / "samples" / name, home / f"x.{_extension(name)}")
        return _manifest(home, f"x.{_extension(name)}")

    return make


def _manifest(home: Path, file: str) -> Sequence[str]:
    (home / "m.jsonl").write_text(json.dumps({"touch": file, "text": "a"}) + "\n")
    return ["data", "pack", "m.jsonl", "out", "--modality", "touch=touch:path", "--modality", "text", "--quiet"]


def _of_pipe(inputs: Path, home: Path, private: Path) -> Sequence[str]:
    os.mkfifo(home / "x.npy")
    return _manifest(home, "x.npy")


def _of_hole(inputs: Path, home: Path, private: Path) -> Sequence[str]:
    with (home / "x.npy").open("wb") as file:
        file.truncate(1 << 42)
    return _manifest(home, "x.npy")


def _asking(name: str) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        shutil.copyfile(inputs / "samples" / name, home / f"x.{_extension(name)}")
        base = str(inputs / "stage_two" / "base")
        return ["ask", str(inputs / "pack"), "--base", base, "--touch", f"x.{_extension(name)}", "is it soft?"]

    return make


def _reading(door: str, name: str) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        from pairalign.data.tar import write_end, write_sample

        folder = home / "pairs" / "image-touch"
        shutil.copytree(inputs / "stage_two" / "demo" / "pairs" / "image-touch", folder)
        tar = next(folder.glob("train-*.tar"))
        data, picture = (inputs / "samples" / name).read_bytes(), png(48, 48, 8, 2)
        index = json.loads((folder / "index.json").read_text())
        count = min(index["splits"]["train"]["count"], (64 << 20) // len(data))
        with tar.open("wb") as stream:
            for number in range(count):
                write_sample(stream, f"{number}", [("image.png", picture), (f"touch.{_extension(name)}", data)])
            write_end(stream)
        index["splits"] = {"train": {"count": count, "shards": [_told(tar, count)]}}
        (folder / "index.json").write_text(json.dumps(index))
        run = str(inputs / "stage_two" / "demo" / "run")
        if door == "inspect":
            return ["data", "inspect", str(folder), "--quiet", "--out", "sheet.png"]
        if door == "evaluate":
            return ["evaluate", run, "--pairs", str(folder), "--split", "train", "--out", "out", "--quiet"]
        settings = yaml.safe_load((inputs / "stage_two" / "demo" / "run" / "config.yaml").read_text())
        settings["edges"] = [edge for edge in settings["edges"] if "touch" in edge["between"]]
        settings["modalities"] = {end: settings["modalities"][end] for end in ("image", "touch")}
        settings |= {"out": "run"}
        settings["data"]["root"] = "pairs"
        (home / "align.yaml").write_text(yaml.safe_dump(settings))
        return ["align", "align.yaml", "--quiet"]

    return make


def _told(tar: Path, count: int) -> dict[str, Any]:
    data = tar.read_bytes()
    return {"name": tar.name, "count": count, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _shards() -> Iterator[Trial]:
    """Tars, read through an index and indexed anew."""
    for name, maker in TARS.items():
        for door in ("inspect", "index"):
            reported = FINE if (door, name) == ("index", "deep meta") else REFUSED  # of which the sample is told
            yield Trial(door, f"a tar with {name}", _of_tar(door, maker), reported)


def _of_tar(door: str, maker: Any) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        tar = home / "shards" / "train-000000.tar"
        tar.parent.mkdir()
        data = maker(private) + good("s0") + b"\0" * 1024
        tar.write_bytes(data)
        if door == "index":
            return ["data", "index", "shards", "--quiet"]
        index = json.loads((inputs / "plain" / "index.json").read_text())
        index["splits"] = {"train": {"count": 1, "shards": [_told(tar, 1)]}}
        (tar.parent / "index.json").write_text(json.dumps(index))
        return ["data", "inspect", "shards", "--quiet"]

    return make


def _indexes() -> Iterator[Trial]:
    """Indexes that name other places, and manifests that lead there."""
    for where in (
        "{private}",
        "../private",
        "http://127.0.0.1:9/x",
        "s3://somebody/else",
        "file://{private}",
        "pipe:gs",
    ):
        yield Trial("inspect", f"an index of shards at {where}", _of_index(at=where))
    for name in ("{private}/secret.tar", "../../private/secret.tar", "C:\\secret.tar", "http://127.0.0.1:9/x.tar"):
        yield Trial("inspect", f"an index of {name}", _of_index(name=name))
        yield Trial("overwrite", f"an index of {name}", _of_index(name=name, overwrite=True))
    for name in ("thesis.tex", "mine.tar", "train-000007.tar"):
        yield Trial("overwrite", f"an index of {name}", _of_index(name=name, mine=True, overwrite=True))
    for name in ("{private}/secret.txt", "../../private/secret.txt", "door.txt", "folder/secret.txt"):
        yield Trial("pack", f"a manifest of {name}", _of_manifest(name))


def _of_index(*, at: str = "", name: str = "", mine: bool = False, overwrite: bool = False) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        folder = home / "shards"
        shutil.copytree(inputs / "plain", folder)
        index = json.loads((folder / "index.json").read_text())
        if at:
            index["at"] = at.format(private=private)
        if name:
            index["splits"]["train"]["shards"][0]["name"] = name.format(private=private)
        if mine:
            (folder / name).write_text("my thesis")
        (folder / "index.json").write_text(json.dumps(index))
        if not overwrite:
            return ["data", "inspect", "shards", "--quiet"]
        (home / "m.jsonl").write_text('{"a": [1, 2, 3], "b": [1, 2, 4]}\n')
        return ["data", "pack", "m.jsonl", "shards", "--overwrite", "--quiet"]

    return make


def _of_manifest(name: str) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        (home / "door.txt").symlink_to(private / "secret.txt")
        (home / "folder").symlink_to(private)
        return _manifest(home, name.format(private=private))

    return make


def _words() -> Iterator[Trial]:
    """Configurations in YAML."""
    texts = {
        "aliases of aliases": laughs(),
        "code": "out: !!python/object/apply:os.system [gs]\n",
        "a thousand brackets": "a: " + "[" * 1000 + "]" * 1000 + "\n",
        "two megabytes": "#" * (2 << 20),
    }
    for name, text in texts.items():
        for verb in ("align", "plan"):
            yield Trial(verb, f"a configuration of {name}", _of_config(verb, text))


def _of_config(verb: str, text: str) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        (home / "c.yaml").write_text(text)
        return [verb, "c.yaml"]

    return make


def _packs() -> Iterator[Trial]:
    """Sensor packs, installed by `ask`."""
    changes: dict[str, Callable[[Path, dict[str, Any], Path], object]] = {
        "without hashes": lambda pack, told, private: told.update(files={}),
        "without the hash of its delta": lambda pack, told, private: told["files"].pop("dormant_model.safetensors"),
        "that names a private file": lambda pack, told, private: told["files"].update({f"{private}/secret.txt": "0"}),
        "that names a file above": lambda pack, told, private: told["files"].update({"../x.json": "0"}),
        "of a linked file": lambda pack, told, private: _link(pack / "results.json", private / "secret.txt"),
        "with a pickle": lambda pack, told, private: told["files"].update({"x.pt": "0"}),
        "of another sensor's delta": lambda pack, told, private: told.update(delta="zzz"),
        "whose base is a path": lambda pack, told, private: told["base"].update(name=str(private)),
        "whose encoder reads a path": lambda pack, told, private: _options(told, levels=str(private / "secret.txt")),
        "whose encoder is huge": lambda pack, told, private: _options(told, width=100_000, channels=4096),
        "whose bridge is huge": lambda pack, told, private: told["senses"]["touch"].update(tokens=10**12),
        "whose latents are huge": lambda pack, told, private: told["senses"]["touch"]["latent"].update(shared=10**9),
        "that is deep": lambda pack, told, private: told.update(figures=_deep(500)),
    }
    for name, change in changes.items():
        yield Trial("install", f"a pack {name}", _of_pack(change))
    yield Trial("ask", "a pack whose base brings code", _of_pack(lambda *_: None, "--trust-remote-code", base=False))


def _of_pack(change: Callable[[Path, dict[str, Any], Path], object], *words: str, base: bool = True) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        pack = Path(shutil.copytree(inputs / "pack", home / "pack"))
        told = json.loads((pack / "manifest.json").read_text())
        change(pack, told, private)
        (pack / "manifest.json").write_text(json.dumps(told))
        named = ["--base", str(inputs / "stage_two" / "base")] if base else []
        return ["ask", "pack", *named, "is it soft?", *words]

    return make


def _link(path: Path, to: Path) -> None:
    path.unlink()
    path.symlink_to(to)


def _options(told: dict[str, Any], **options: Any) -> None:
    told["senses"]["touch"]["options"].update(options)


def _deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"x": found}
    return found


def _runs() -> Iterator[Trial]:
    """Run folders of both stages, evaluated, exported and taken as `out`."""
    changes: dict[str, Callable[[Path, Path], object]] = {
        "a plugin": lambda run, private: _plugin(run, "plugins/evil/evil.py"),
        "a plugin elsewhere": lambda run, private: _plugin(run, str(private / "evil.py")),
        "a module": lambda run, private: _module(run),
        "a link to write through": lambda run, private: (run / "evaluation").symlink_to(private),
    }
    for name, change in changes.items():
        yield Trial("evaluate", f"a run with {name}", _of_run(change, "evaluate"))
        if "link" not in name:
            yield Trial("export", f"a run with {name}", _of_run(change, "export"))
    for name in ("metrics.jsonl", "last.ckpt", ".lock"):
        yield Trial("align", f"a run whose {name} is a link", _of_run(_linked(name), "align"))


def _linked(name: str) -> Callable[[Path, Path], object]:
    def change(run: Path, private: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(private / "secret.txt")

    return change


def _plugin(run: Path, kept: str) -> None:
    if not Path(kept).is_absolute():
        (run / kept).parent.mkdir(parents=True)
        (run / kept).write_text("import os\nos.system('gs --plugin')\n")
    record = json.loads((run / "identity.json").read_text())
    digest = hashlib.sha256(b"").hexdigest()
    if (run / kept).is_file():
        from pairalign.core.plugins import read_plugin

        digest = read_plugin(run / kept).sha256
    record["plugins"] = [{"given": "/nowhere/evil.py", "kept": kept, "sha256": digest, "files": [kept]}]
    (run / "identity.json").write_text(json.dumps(record))


def _module(run: Path) -> None:
    told = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(told | {"plugins": ["antigravity"]}))


def _of_run(change: Callable[[Path, Path], object], verb: str) -> Make:
    def make(inputs: Path, home: Path, private: Path) -> Sequence[str]:
        source = inputs / "taught" if verb == "export" else inputs / "stage_two" / "demo" / "run"
        run = Path(shutil.copytree(source, home / "run"))
        change(run, private)
        pairs = str(inputs / "stage_two" / "demo" / "pairs" / "image-touch")
        if verb == "evaluate":
            return ["evaluate", "run", "--pairs", pairs, "--split", "train", "--quiet", "--limit", "8"]
        if verb == "export":
            return ["export", "run", "out"]
        return ["align", str(run / "config.yaml"), "out=run", "--quiet", "seed=3", "--fresh"]

    return make


def _beside() -> Iterator[Trial]:
    """Good files with something hostile in or beside them, which is left alone."""
    for name in WHOLE:
        yield Trial("pack", name, _packing(name), FINE)
    yield Trial("install", "a pack with code beside it", _of_pack(_code_beside), FINE)


def _code_beside(pack: Path, told: dict[str, Any], private: Path) -> None:
    (pack / "evil.py").write_text("import os\nos.system('gs --pack')\n")
    told["plugins"] = ["evil.py", "antigravity"]


def _prepared(work: Path) -> None:
    """Inputs and private files, made once in a fork: it computes."""
    private = work / "private"
    if (work / "modules").exists():
        return
    shutil.rmtree(work)
    private.mkdir(parents=True)
    (private / "secret.txt").write_text("top secret")
    (private / "secret.png").write_bytes(png(8, 8))
    (private / "video.ts").write_bytes(b"G" + b"\0" * 187)
    (private / "secret.tar").write_bytes(good("s0") + b"\0" * 1024)
    (private / "evil.py").write_text("import os\nos.system('gs --elsewhere')\n")
    child = os.fork()
    if child == 0:
        try:
            _prepare(work)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the inputs could not be made")


def _prepare(work: Path) -> None:
    import sys

    from stage_two import make_setup, short_run

    import pairalign as pa
    from pairalign.cli.main import main
    from pairalign.data.pack import pack_pairs

    inputs = work / "inputs"
    (inputs / "samples").mkdir(parents=True)
    for name, maker in (SAMPLES | WHOLE).items():
        (inputs / "samples" / name).write_bytes(maker(work / "private"))
    setup = make_setup(inputs / "stage_two")
    run = short_run(setup, inputs / "taught")
    pa.export_pack(run, inputs / "pack")
    rows = [{"a": np.arange(6.0) + n, "b": np.arange(6.0) - n} for n in range(4)]
    pack_pairs(rows, inputs / "plain", progress=False)
    warm = work / "warm"
    pairs = str(setup / "demo" / "pairs" / "image-touch")
    main(["evaluate", str(setup / "demo" / "run"), "--pairs", pairs, "--split", "train", "--out", str(warm), "--quiet"])
    main(["data", "inspect", str(inputs / "plain"), "--out", str(warm / "sheet.png"), "--quiet"])
    for name in ("av", "trimesh", "soundfile", "h5py"):
        with suppress(ImportError):
            importlib.import_module(name)
    (work / "modules").write_text("\n".join(name for name in sorted(sys.modules) if name != "__main__"))


def _warm(work: Path) -> None:
    """Import what preparing needed, so that a fork starts at once."""
    for name in (work / "modules").read_text(encoding="utf-8").split():
        with suppress(Exception):
            importlib.import_module(name)
    if threading.active_count() > 1:
        raise SystemExit(f"threads that a fork would lose: {threading.enumerate()}")
