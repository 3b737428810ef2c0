"""What is installed into a language model: deltas, sensor packs, scores; and the names of sensors.

Note:
    A file that is refused must leave the model as it was, so the weights are compared after every case.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

import pairalign as pa
from fuzzing.change import json_changed, safetensors_changed
from fuzzing.readers import Door
from pairalign.dormant.model import DormantModel

ALL = ("rows", "columns", "weights", "directions")


@contextmanager
def unchanged(base: nn.Module) -> Iterator[None]:
    """Raise `AssertionError` where the block leaves another model than it found."""
    kinds = {name: type(module) for name, module in base.named_modules()}
    values = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    try:
        yield
    finally:
        now = base.state_dict()
        same = {name: type(module) for name, module in base.named_modules()} == kinds and now.keys() == values.keys()
        if not same or not all(torch.equal(now[name], values[name]) for name in values):
            DormantModel(base).unload()
            raise AssertionError("the model is not what it was")


def _installed(base: nn.Module, folder: Path) -> None:
    with unchanged(base):
        model = DormantModel(base)
        try:
            model.install(folder)
        finally:
            for sensor in list(model.dormant):
                model.uninstall(sensor)


def delta(folder: Path) -> dict[str, Door]:
    """Both files of a delta, of every structure."""
    from recompose_models import dormant, tiny_llama

    base, doors = tiny_llama(layers=1).requires_grad_(False), {}
    for structure in ALL:
        home = folder / structure
        made = dormant(base, structure=structure, density=0.25, target_modules=("q_proj",))
        made.save_pretrained(home)
        made.unload()
        for name, change in (("dormant_config.json", json_changed), ("dormant_model.safetensors", safetensors_changed)):
            good = (home / name).read_bytes()

            def read(data: bytes, home: Path = home, name: str = name, good: bytes = good) -> None:
                (home / name).write_bytes(data)
                try:
                    _installed(base, home)
                finally:
                    (home / name).write_bytes(good)

            doors[f"{structure}: {name}"] = Door([good], read, change)
    return doors


def scores(folder: Path) -> dict[str, Door]:
    """Score files of factors and of matrices: opened, and dormant weights chosen by them."""
    from recompose_models import tiny_llama, token_batches

    from pairalign.dormant.linears import find_linears
    from pairalign.dormant.significance import load_scores, save_scores, score_model

    base = tiny_llama(layers=1).requires_grad_(False)
    linears, path = find_linears(base, ("q_proj",)), folder / "x.safetensors"
    config = pa.DormantConfig(density=0.25, target_modules=("q_proj",))

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with unchanged(base):
            found = load_scores(path)
            pa.get_dormant_model(base, config, scores=found).unload()

    good = []
    for name in ("wanda", "random"):
        save_scores(score_model(name, base, linears, token_batches()), linears, path, progress=False, score=name)
        good.append(path.read_bytes())
    return {"scores": Door(good, read, safetensors_changed)}


def pack(folder: Path) -> dict[str, Door]:
    """Every file of a sensor pack, whose manifest gives the hash of what is there."""
    from sensing import speaking

    from pairalign.core.config import LatentConfig, to_dict
    from pairalign.export.manifest import Manifest, find_base, read_manifest, write_manifest
    from pairalign.export.sensor_pack import install_pack, uninstall_pack
    from pairalign.export.write import base_of
    from pairalign.sensors.sensor import SensorRecipe

    model, processor = speaking()
    model.requires_grad_(False)
    recipe = SensorRecipe(
        "touch_cnn", {"size": 16, "channels": 4, "width": 8}, LatentConfig(shared=6, private=4, hidden=0), 0, "mlp", 2
    )
    from safetensors.torch import save_file

    tensors = {f"touch.{name}": tensor.contiguous() for name, tensor in model.sensors["touch"].state_dict().items()}
    save_file(tensors, folder / "sense.safetensors")
    model.remove("touch")
    processor.remove("touch")
    base: Any = model.llm
    made = pa.get_dormant_model(base, pa.DormantConfig(structure="rows", density=0.2), sensor="touch")
    made.save_pretrained(folder)
    made.unload()
    names = ("sense.safetensors", "dormant_config.json", "dormant_model.safetensors")
    about = {**base_of(model), "name": "tiny", "source": "folder"}
    manifest = Manifest(2, {"touch": recipe}, {"touch": {"unit": "N"}}, about, "touch", licences={"touch": "x"})

    def told() -> dict[str, Any]:
        hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
        return {**to_dict(manifest), "files": hashes}

    def install() -> None:
        with unchanged(base):
            try:
                for sensor in install_pack(model, processor, folder):
                    if sensor in model.sensors:
                        uninstall_pack(model, processor, sensor)
            finally:
                left, model.llm = list(model.sensors), base
                for sensor in left:
                    model.remove(sensor)
                    processor.remove(sensor)
                if left:
                    raise AssertionError(f"sensors {left} are left in the model")

    def read(name: str) -> Callable[[bytes], object]:
        def one(data: bytes) -> None:
            (folder / name).write_bytes(data)
            if name != "manifest.json":
                (folder / "manifest.json").write_text(json.dumps(told()))
            try:
                read_manifest(folder)
                find_base(folder, "tiny")
                install()
            finally:
                (folder / name).write_bytes(whole[name])

        return one

    write_manifest(manifest, folder)
    (folder / "manifest.json").write_text(json.dumps(told()))
    whole = {name: (folder / name).read_bytes() for name in (*names, "manifest.json")}
    changes = {name: json_changed if name.endswith(".json") else safetensors_changed for name in whole}
    return {name: Door([whole[name]], read(name), changes[name]) for name in whole}


NAMES = (
    *("touch", "", ".", ".touch", "a.b", "a/b", "../x", "__class__", "forward", "training", "items", "_modules"),
    *("\x00", "é", "ｔouch", " ", "a b", "0", "x" * 300, "<", "|>", "\ud800", "\n", "{x}", "%", "self", "image"),
)


def names(folder: Path) -> dict[str, Door]:
    """Names of sensors and modalities, as a user or a pack may spell them."""
    import copy

    from recompose_models import dormant, tiny_llama
    from sensing import make_sensor, speaking

    from pairalign.align.model import build_aligner
    from pairalign.core.config import AlignConfig, load_config

    base = tiny_llama(layers=1).requires_grad_(False)
    made = dormant(base, structure="rows", target_modules=("q_proj",))
    made.save_pretrained(folder)
    made.unload()
    record = json.loads((folder / "dormant_config.json").read_text())
    model, processor = speaking()
    own = make_sensor(model.llm)

    def text(data: bytes) -> str:
        return data.decode("utf-8", "surrogatepass") if data != b"\xff" else "\ud800"

    def adapted(data: bytes) -> None:
        (folder / "dormant_config.json").write_text(json.dumps({**record, "sensor": text(data)}))
        _installed(base, folder)

    def sensed(data: bytes) -> None:
        tried = copy.copy(processor)
        tried.sensors, tried.placeholders = dict(processor.sensors), dict(processor.placeholders)
        before = set(model.sensors)
        try:
            model.add(text(data), own, tried.add(text(data), own))
        finally:
            for name in set(model.sensors) - before:
                model.remove(name)

    def aligned(data: bytes) -> None:
        side = {"encoder": "touch_cnn", "options": {"size": 16, "channels": 3, "width": 8}}
        edges = [{"between": ["image", text(data)], "shards": "x"}]
        told = {"modalities": {"image": side, text(data): side}, "edges": edges, "out": "x"}
        build_aligner(load_config(AlignConfig, told))

    def change(data: bytes, draw: Any, others: Any) -> bytes:
        one: str = draw.choice(NAMES)
        return (one if draw.random() < 0.5 else one + draw.choice(NAMES)).encode("utf-8", "surrogatepass")

    doors = {"delta": adapted, "sense": sensed, "modality": aligned}
    return {name: Door([b"glove"], read, change) for name, read in doors.items()}


MAKES = {"delta": delta, "scores": scores, "pack": pack, "names": names}
