"""The configuration of a run: frozen dataclasses are the only truth, YAML is how they are written down.

`load_config` reads a YAML file (or a mapping), applies dotted overrides (`train.lr=1e-3`) and checks every key, type
and range before anything starts, naming all that is wrong at once.

Note:
    An override is parsed as YAML, so `null`, `true` and `[a, b]` mean what they mean there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pairalign.core.bounds import LARGEST, WIDEST, Amount, Count, Positive, Share, Strict, Whole, Width, Within
from pairalign.core.earlier import override_of_today, settings_of_today
from pairalign.core.errors import ConfigError
from pairalign.core.explain import check_stage, explain
from pairalign.core.names import Extensions, Folder, Name, Options, Text
from pairalign.core.notation import apply_override, check_overrides, read_mapping, write_yaml
from pairalign.core.secrets import hide_addresses
from pairalign.core.sources import Shards, SourceConfig, pool_conflicts, sources_of

T = TypeVar("T")
Tune = Literal["none", "last", "all"]
"""What of a sensor's encoder trains in stage two: nothing, its last block, or all of it."""


@dataclass(frozen=True)
class ModalityConfig(Strict):
    """One modality: which encoder reads it, and what of the encoder trains.

    Args:
        encoder: registered name, see `pairalign encoders ls`.
        options: keyword arguments of the encoder.
        tune: "all", "none" (frozen: its features are cached), or the number of last blocks that train, 1 or more.
        source: field of the shards that holds this modality; its own name if null.
        views: K ≥ 1 augmented views cached for a frozen encoder; 1 caches the plain sample.
        head: hidden width of the head on the shared and private latents; 0 for a linear head; null for `latent.hidden`;
            "anchor" takes a frozen tower's own centred features as the shared latent and trains nothing on its side.
        start: folder of a finished run whose encoder of the same modality this one starts from; null starts afresh.
    """

    encoder: Text
    options: Options = field(default_factory=dict)
    tune: Annotated[Literal["all", "none"] | int, Within(1, LARGEST, whole=True)] = "all"
    source: Text | None = None
    views: Count = 1
    head: Annotated[int | Literal["anchor"] | None, Within(0, WIDEST, whole=True)] = None
    start: Folder | None = None


@dataclass(frozen=True)
class EdgeConfig(Strict):
    """Pairs of two modalities.

    Args:
        between: the two modalities.
        shards: a folder or an address (relative to `data.root`), or a list of them and of `SourceConfig`: data sets
            that are drawn from together.
        weight: of the edge in the loss, 0 or more.
        temperature: of drawing from a list without weights, above 0: a source of n samples gets a share proportional to
            n^(1/temperature); null or 1 takes every sample once an epoch, larger ones favour small sources.
    """

    between: tuple[Name, Name]
    shards: Shards
    weight: Amount = 1.0
    temperature: Positive | None = None

    @property
    def sources(self) -> tuple[SourceConfig, ...]:
        """The data sets, each with a name; one if `shards` is a folder."""
        return sources_of(self.shards)

    def conflicts(self) -> Iterable[str]:
        return pool_conflicts(self.shards, self.temperature)


@dataclass(frozen=True)
class LatentConfig(Strict):
    """Sizes of the latents.

    Args:
        shared: dimensions d_s that edges compare, 1 to 65536.
        private: dimensions d_p of each modality's own, 0 to 65536.
        hidden: width of heads, up to 65536, 0 for linear ones.
        standardise: keep each shared dimension at mean 0 and variance 1 (running statistics): no gap between modalities
            that never meet in training.
    """

    shared: Annotated[int, Within(1, WIDEST, whole=True)] = 64
    private: Width = 32
    hidden: Width = 256
    standardise: bool = False


@dataclass(frozen=True)
class LossConfig(Strict):
    """Weights and kinds of stage one's terms; see `pairalign.align` for each formula and source.

    Args:
        contrastive: "infonce", "sigmoid", or the name of a loss that a plugin registers, see `register_loss`.
        similarity: "cosine", or "euclidean" for the negative squared distance of unnormalised latents, which keeps
            their scale (identifiability needs it; start `scale` near 0.25). Under it `noise` is also added before
            comparing.
        contrast: weight λ ≥ 0 of the contrastive term; 0 switches it off.
        reconstruct: weight λ ≥ 0 of reconstruction; 0 switches it off.
        minimal: weight λ ≥ 0 of the minimal-latent penalty; 0 switches it off.
        gate: weight λ ≥ 0 of the gates' size; 0 switches it off.
        detach: let decoders read the shared latent without training it, so that what no pair aligns must live in
            private.
        relation: weight ≥ 0 of the relational term on edges with a frozen side, which copies how near the frozen tower
            finds its samples to each other.
        relation_temperature: of that nearness, above 0.
        gates: learn a gate per edge (partial alignment); false aligns every shared dimension on every edge.
        false_negatives: "mask" drops same-key or same-caption pairs from the negatives, "positive" adds them to the
            positives, "keep" treats them as negatives, as CLIP does.
        noise: standard deviation ≥ 0 of Gaussian noise on the latents that decoders read, which gives the
            minimal-latent penalty its scale; 0 for none.
        scale: initial logit scale (inverse temperature), from `scale_min` to `scale_max`.
        scale_min: smallest logit scale, above 0.
        scale_max: largest logit scale.
        chunk: rows of the similarity matrix in memory at once, 1 or more.
    """

    contrastive: Text = "infonce"
    similarity: Literal["cosine", "euclidean"] = "cosine"
    contrast: Amount = 1.0
    reconstruct: Amount = 0.5
    minimal: Amount = 0.01
    gate: Amount = 0.01
    detach: bool = False
    relation: Amount = 0.0
    relation_temperature: Positive = 0.1
    gates: bool = True
    false_negatives: Literal["mask", "positive", "keep"] = "mask"
    noise: Amount = 0.1
    scale: Positive = 14.3
    scale_min: Positive = 1.0
    scale_max: Positive = 100.0
    chunk: Count = 1024

    def conflicts(self) -> Iterable[str]:
        if not self.scale_min <= self.scale <= self.scale_max:
            yield (
                f"scale is {self.scale:g}, scale_min {self.scale_min:g} and scale_max {self.scale_max:g}: give "
                "scale_min ≤ scale ≤ scale_max"
            )


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Strict):
    """What both stages tell Lightning's trainer.

    Args:
        accumulate: batches per optimizer step, 1 or more. In stage two they are exactly one larger batch; in stage one
            the mean of batches that each compare their own pairs alone.
        clip: gradient norm of a step, 0 for none.
        precision: Lightning's, such as "32-true" or "bf16-mixed".
        accelerator: "auto", or what `find_device` takes.
        devices: as Lightning's Trainer takes them, 1 or more, or "auto" for all; of processes that torchrun, SLURM, LSF
            or MPI started, there are as many as they say.
        nodes: likewise, 1 or more.
        strategy: likewise. In stage two "fsdp2" shares the language model out among the processes, see
            `pairalign.finetune.fsdp`.
        threads: torch's CPU threads, 1 or more; null leaves torch's choice.
        keep_checkpoint: whether a finished run keeps last.ckpt, which only an interrupted one goes on from: weights
            once more, and the optimizer's state of twice their size.
    """

    accumulate: Count = 1
    clip: Amount = 1.0
    precision: Text = "32-true"
    accelerator: Text = "auto"
    devices: Annotated[int | Literal["auto"], Within(1, LARGEST, whole=True)] = 1
    nodes: Count = 1
    strategy: Text = "auto"
    threads: Count | None = None
    keep_checkpoint: bool = False


@dataclass(frozen=True)
class TrainConfig(TrainerConfig):
    """How long and how stage one trains: AdamW with warm-up and cosine. The others: see `TrainerConfig`.

    Args:
        steps: optimizer steps, 1 or more.
        batch_size: pairs of each edge in a batch, in each process.
        lr: learning rate, 0 or more; a run shorter than its warm-up, such as a trial, never gets to it, which is said.
        weight_decay: AdamW's, 0 or more.
        warmup: steps until the learning rate is reached, 0 or more.
        validate_every: in steps; 0 for only at the end.
        checkpoint_every: in steps; 0 for only at the end.
    """

    steps: Count = 1000
    batch_size: Count = 128
    lr: Amount = 1e-3
    weight_decay: Amount = 0.01
    warmup: Whole = 50
    validate_every: Whole = 0
    checkpoint_every: Whole = 200


@dataclass(frozen=True)
class DataConfig(Strict):
    """Where pairs come from, and how they are read.

    Args:
        root: of the shard folders: a folder or an address, as `s3://bucket/folder`; see `pairalign.data.place`.
        workers: processes that read and collate batches ahead, 0 or more.
        shuffle: buffer of the loader in samples, 0 or more.
        train_split: name of the split in the shard index that is trained on.
        val_split: of that which validates; null trains without validation. "val" may be missing from an edge, which is
            then not validated, and said so; another name may not.
        bad_fraction: largest share of damaged samples, 0 to 1, that a run tolerates; each is reported by key, none is
            replaced.
        augment: draw a random view of each training sample through `Encoder.view`.
        memory: GiB of preprocessed samples that a loader process keeps, so that each is preprocessed once; 0 for none.
        cache: folder in which shards from an address are kept; null for what PAIRALIGN_CACHE says, by default
            ~/.cache/pairalign/shards.
        cache_gb: how many GiB ≥ 0 of them at most; null for what PAIRALIGN_CACHE_GB says, by default 20.
    """

    root: Folder = "."
    workers: Whole = 0
    shuffle: Whole = 1000
    train_split: Text = "train"
    val_split: Text | None = "val"
    bad_fraction: Share = 0.01
    augment: bool = True
    memory: Amount = 2.0
    cache: Folder | None = None
    cache_gb: Amount | None = None


@dataclass(frozen=True)
class AlignConfig(Strict):
    """Stage one, whole.

    Args:
        modalities: by name: the nodes of the pair graph.
        edges: pairs of modalities that training compares.
        out: the run folder.
        seed: of everything that is drawn.
        latent: sizes, see `LatentConfig`.
        loss: weights and kinds of its terms, see `LossConfig`.
        train: how long and how, see `TrainConfig`.
        data: where pairs come from, see `DataConfig`.
        cache: folder of anchor caches; null for one inside `out`.
        plugins: files or modules that register encoders, loaded before anything else.
        log: loggers that are told what metrics.jsonl is: "csv", "mlflow", "tensorboard" or "wandb", or the path of a
            Lightning `Logger`, each alone or as {name: {option: value}}. They write below `out`/logs.
        callbacks: Lightning callbacks by the path of their class, package.module.Class or plugin.Class, alone or as
            {path: {option: value}}.
        allow_disconnected: train though some modalities cannot be reached from the others.
    """

    modalities: dict[Name, ModalityConfig]
    edges: tuple[EdgeConfig, ...]
    out: Folder
    seed: Whole = 0
    latent: LatentConfig = field(default_factory=LatentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    cache: Folder | None = None
    plugins: tuple[Folder, ...] = ()
    log: Extensions = ()
    callbacks: Extensions = ()
    allow_disconnected: bool = False


def load_config(cls: type[T], source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> T:
    """Read, override and check a configuration.

    Args:
        cls: what it is, such as `AlignConfig`.
        source: a YAML file, or a mapping.
        overrides: settings as `section.name=value`, the value as YAML writes it.

    Returns:
        The configuration, a frozen dataclass.

    Raises:
        ConfigError: with key, value and fix of each fault.

    Example:
        >>> import pairalign as pa
        >>> config = {
        ...     "modalities": {"touch": {"encoder": "touch_cnn"}, "text": {"encoder": "openclip_text"}},
        ...     "edges": [{"between": ["touch", "text"], "shards": "pairs"}],
        ...     "out": "runs/touch",
        ... }
        >>> pa.load_config(pa.AlignConfig, config, ["train.lr=3e-4"]).train.lr
        0.0003
        >>> pa.load_config(pa.AlignConfig, config, ["train.lr=-1"])
        Traceback (most recent call last):
        pairalign.core.errors.ConfigError: config key 'train.lr' is -1: give a number of at least 0.
    """
    from pydantic import ValidationError

    values = settings_of_today(cls, read_mapping(source), say=not isinstance(source, Mapping))
    check_stage(cls, values, source)
    overrides = [override_of_today(cls, override) for override in overrides]
    check_overrides(overrides)
    for override in overrides:
        apply_override(values, override)
    try:
        return cast("T", _adapter(cast("Any", cls)).validate_python(values))
    except ValidationError as error:
        raise ConfigError(explain(cls, values, error.errors())) from None


@cache
def _adapter(cls: type[Any]) -> Any:
    """Pydantic's reader of a configuration; made once, which takes a while."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def load_written(cls: type[T], path: Path) -> T:
    """The configuration that a run folder holds, which may be somebody else's: a command or credential in it is not
    used (see `pairalign.core.secrets`), and whoever needs the data is told to name it again."""
    return load_config(cls, hide_addresses(read_mapping(path)))


def config_keys(source: str | Path | Mapping[str, Any]) -> set[str]:
    """The top keys of a configuration, unchecked; they tell stage one from stage two."""
    return set(read_mapping(source))


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain dicts and lists, ready for YAML or JSON; addresses without their credentials."""
    import json

    plain: dict[str, Any] = hide_addresses(json.loads(json.dumps(dataclasses.asdict(config))))
    return plain


def to_yaml(config: Any) -> str:
    """A configuration as YAML text that `load_config` reads back to an equal one."""
    return write_yaml(to_dict(config))
