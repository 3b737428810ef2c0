"""The configuration of a run: frozen dataclasses are the only truth, YAML is how they are written down.

`load_config` reads a YAML file (or a mapping), applies dotted overrides (`train.lr=1e-3`) and checks every key and
type before anything starts. Where it bites: an override is parsed as YAML, so `null`, `true` and `[a, b]` mean what
they mean there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pairalign.core.errors import ConfigError, did_you_mean

T = TypeVar("T")


class Strict:
    """Refuse unknown keys and keep ints and strings apart from each other."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True)
class ModalityConfig(Strict):
    """One modality: which encoder reads it, and what of the encoder trains.

    encoder: registered name, see `pairalign encoders ls`.
    options: keyword arguments of the encoder.
    tune: "all", "none" (frozen: its features are cached), or the number of last blocks that train.
    source: field of the shards that holds this modality; its own name if null.
    views: K augmented views cached for a frozen encoder; 1 caches the plain sample.
    head: hidden width of the head on the shared and private latents; 0 for a linear head; null for `latent.hidden`;
        "anchor" takes a frozen tower's own centred features as the shared latent and trains nothing on its side.
    start: folder of a finished run whose encoder of the same modality this one starts from; null starts afresh.
    """

    encoder: str
    options: dict[str, Any] = field(default_factory=dict)
    tune: Literal["all", "none"] | int = "all"
    source: str | None = None
    views: int = 1
    head: int | Literal["anchor"] | None = None
    start: str | None = None


@dataclass(frozen=True)
class EdgeConfig(Strict):
    """One set of pairs: two modalities, the shard folder (relative to `data.root`), and its weight in the loss."""

    between: tuple[str, str]
    shards: str
    weight: float = 1.0


@dataclass(frozen=True)
class LatentConfig(Strict):
    """Sizes: `shared` d_s and `private` d_p dimensions, and the `hidden` width of heads.

    standardise: keep each shared dimension at mean 0 and variance 1 (running statistics): no gap between modalities
        that never meet in training.
    """

    shared: int = 64
    private: int = 32
    hidden: int = 256
    standardise: bool = False


@dataclass(frozen=True)
class LossConfig(Strict):
    """Weights and kinds of stage one's terms; see `pairalign.align` for each formula and source.

    contrastive: "infonce" or "sigmoid".
    similarity: "cosine", or "euclidean" for the negative squared distance of unnormalised latents, which keeps their
        scale (identifiability needs it; start `scale` near 0.25). Under it `noise` is also added before comparing.
    contrast, reconstruct, minimal, gate: weights λ of the four terms; 0 switches one off.
    detach: let decoders read the shared latent without training it, so that what no pair aligns must live in private.
    relation: weight of the relational term on edges with a frozen side, which copies how near the frozen tower finds
        its samples to each other; relation_temperature: of that nearness.
    gates: learn a gate per edge (partial alignment); false aligns every shared dimension on every edge.
    false_negatives: "mask" drops same-key or same-caption pairs from the negatives, "positive" adds them to the
        positives, "keep" treats them as negatives, as CLIP does.
    noise: standard deviation of Gaussian noise on the latents that decoders read, which gives the minimal-latent
        penalty its scale; 0 for none.
    scale, scale_min, scale_max: initial, smallest and largest logit scale (inverse temperature).
    chunk: rows of the similarity matrix in memory at once.
    """

    contrastive: Literal["infonce", "sigmoid"] = "infonce"
    similarity: Literal["cosine", "euclidean"] = "cosine"
    contrast: float = 1.0
    reconstruct: float = 0.5
    minimal: float = 0.01
    gate: float = 0.01
    detach: bool = False
    relation: float = 0.0
    relation_temperature: float = 0.1
    gates: bool = True
    false_negatives: Literal["mask", "positive", "keep"] = "mask"
    noise: float = 0.1
    scale: float = 14.3
    scale_min: float = 1.0
    scale_max: float = 100.0
    chunk: int = 1024


@dataclass(frozen=True)
class TrainConfig(Strict):
    """How long and how: `steps` steps of `batch_size` pairs per edge and process, AdamW with warm-up and cosine.

    lr, weight_decay, warmup (steps), clip (gradient norm; 0 for none): the optimizer.
    precision: Lightning's, such as "32-true" or "bf16-mixed". accumulate: batches per optimizer step.
    validate_every, checkpoint_every: in steps; 0 for only at the end.
    devices, nodes, strategy: as Lightning's Trainer takes them; torchrun and SLURM are found by themselves.
    threads: torch's CPU threads; null leaves torch's choice.
    """

    steps: int = 1000
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 50
    clip: float = 1.0
    precision: str = "32-true"
    accumulate: int = 1
    validate_every: int = 0
    checkpoint_every: int = 200
    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    nodes: int = 1
    strategy: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class DataConfig(Strict):
    """Where pairs come from: `root` of the shard folders, loader `workers`, `shuffle` buffer in samples.

    train_split, val_split: names of the splits in the shard index; a null val_split trains without validation.
    bad_fraction: largest share of damaged samples that a run tolerates; each is reported by key, none is replaced.
    augment: draw a random view of each training sample through `Encoder.view`.
    memory: GiB of preprocessed samples that a loader process keeps, so that each is preprocessed once; 0 for none.
    """

    root: str = "."
    workers: int = 0
    shuffle: int = 1000
    train_split: str = "train"
    val_split: str | None = "val"
    bad_fraction: float = 0.01
    augment: bool = True
    memory: float = 2.0


@dataclass(frozen=True)
class AlignConfig(Strict):
    """Stage one, whole. `out` is the run folder; `cache` the folder of anchor caches (default: inside `out`)."""

    modalities: dict[str, ModalityConfig]
    edges: tuple[EdgeConfig, ...]
    out: str
    seed: int = 0
    latent: LatentConfig = field(default_factory=LatentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    cache: str | None = None
    plugins: tuple[str, ...] = ()
    allow_disconnected: bool = False


def load_config(cls: type[T], source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> T:
    """Read, override and check a configuration; raise `ConfigError` with the key, the value and the fix."""
    values = _read(source)
    for override in overrides:
        _override(values, override)
    return _build(cls, values)


def config_keys(source: str | Path | Mapping[str, Any]) -> set[str]:
    """The top keys of a configuration, unchecked; they tell stage one from stage two."""
    return set(_read(source))


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain dicts and lists, ready for YAML or JSON."""
    import json

    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def to_yaml(config: Any) -> str:
    """A configuration as YAML text that `load_config` reads back to an equal one."""
    import yaml

    return str(yaml.safe_dump(to_dict(config), sort_keys=False))


def _read(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    import copy

    import yaml

    if isinstance(source, Mapping):
        return copy.deepcopy(dict(source))
    path = Path(source)
    if not path.is_file():
        raise ConfigError(f"config {str(path)!r} is no file: give the path of a YAML file.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {str(path)!r} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config {str(path)!r} holds {type(values).__name__}, not a mapping of settings.")
    return values


def _override(values: dict[str, Any], override: str) -> None:
    import yaml

    path, sign, text = override.partition("=")
    if not sign or not path:
        raise ConfigError(f"override {override!r}: write it as section.key=value, for example train.lr=1e-3.")
    *parents, last = path.split(".")
    node: Any = values
    for name in parents:
        node = node[_index(node, name, path)] if isinstance(node, list) else node.setdefault(name, {})
        if not isinstance(node, (dict, list)):
            raise ConfigError(f"override {path!r}: {name!r} is a value, not a section.")
    node[_index(node, last, path) if isinstance(node, list) else last] = yaml.safe_load(text)


def _index(node: list[Any], name: str, path: str) -> int:
    if not name.isdigit() or int(name) >= len(node):
        raise ConfigError(f"override {path!r}: {name!r} is no position in a list of {len(node)}.")
    return int(name)


def _build(cls: type[T], values: dict[str, Any]) -> T:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise ConfigError(_explain(cls, error.errors()[0])) from None


def _explain(cls: type, problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "unexpected_keyword_argument":
        *parents, name = problem["loc"]
        return f"config key {where!r} is unknown.{did_you_mean(str(name), _keys(cls, parents))}"
    if problem["type"] == "missing":
        return f"config key {where!r} is missing: add it."
    return f"config key {where!r} is {problem['input']!r}: {problem['msg'].lower()}."


def _keys(cls: Any, parents: Sequence[Any]) -> list[str]:
    """Field names of the dataclass that the path `parents` leads to."""
    import typing

    for part in parents:
        if dataclasses.is_dataclass(cls):
            cls = typing.get_type_hints(cls).get(str(part), object)
        else:
            cls = next((a for a in typing.get_args(cls) if dataclasses.is_dataclass(a)), object)
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
