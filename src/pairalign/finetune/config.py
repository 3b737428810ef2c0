"""The configuration of a run of stage two; `DormantConfig` has the settings of dormant tuning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pairalign.core.bounds import Amount, Count, Positive, Share, Strict, Whole, Width
from pairalign.core.config import TrainerConfig, Tune
from pairalign.core.earlier import earlier_fields
from pairalign.core.errors import ConfigError
from pairalign.core.names import Extensions, Folder, Label, Name, Options, Prompt, SensorName, Text
from pairalign.core.sources import Shards, pool_conflicts, sources_of
from pairalign.dormant.config import DormantConfig

STEPS = 1000


@dataclass(frozen=True)
class SensorConfig(Strict):
    """One sensor: the stage-one run that aligned it, and its bridge.

    Args:
        run: folder of that run, below `root`, or `ORG/NAME[@REVISION]` on the Hub where no such folder is.
        modality: what the sensor is called there; its own name if null.
        bridge: "linear", "mlp", "resampler", or one that a plugin registers; or "recomposition", through the model's
            own image projector, which is fitted to `images` and never trained.
        tokens: vectors beside those of the latents, 0 to 65536, the encoder's averaged in so many groups; "all" for one
            each of the encoder's; a resampler's queries.
        images: shard folder that a recomposition is fitted to, with a field `anchor`.
        anchor: the run's modality of pictures.
        image_count: of these at most so many, from 1.
        trained: whether the bridge trains; false keeps it as it is, fresh or as `start` left it, and then no training
            task has to show the sensor.
        tune: what of the encoder trains with the bridge: "none", its "last" block, or "all". A signal is then read anew
            at every step, and the run, its checkpoints and packs hold the encoder as it has become.
        lr: of the encoder, 0 or more; null for train.lr.
    """

    run: Folder
    modality: Name | None = None
    bridge: Text = "mlp"
    tokens: Width | Literal["all"] = 8
    images: Folder | None = None
    anchor: Name = "image"
    image_count: Count = 512
    trained: bool = True
    tune: Tune = "none"
    lr: Amount | None = None

    def conflicts(self) -> Iterable[str]:
        if self.tune != "none" and self.bridge == "recomposition":
            yield f"tune is {self.tune!r}, and a recomposition is fitted to the sensor as it is: give another bridge"
        if self.tune != "none" and not self.trained:
            yield f"tune is {self.tune!r}, and trained is false: an encoder trains with its bridge or not at all"
        if self.tune == "none" and self.lr is not None:
            yield f"lr is {self.lr:g}, and nothing of the encoder trains: set tune to last or all, or leave lr out"


@dataclass(frozen=True)
class TaskConfig(Strict):
    """Questions and answers in a shard folder, or in several.

    A sample's label, where it is a word, names the kind of question in results.

    Args:
        shards: a folder or an address, or a list of them and of `SourceConfig`: each becomes a task of its own, called
            TASK/SOURCE, in batches as in figures, and together they have this one's weight, shared by size or weights.
        prompt: what the user says, word for word; a field in braces stands for its value: `"{touch} is it soft?"`,
            `"{image} {question}"`; `{label}` for the label that a sample was packed with.
        answer: likewise, text only, such as `"{label}"`.
        split: name of the split in the shard index.
        signals: sensor by field, where a field is not called as its sensor is.
        weight: share of every step's places, relative to the other tasks, 0 or more.
        limit: of the split's samples only the first so many, in stored order, in training as in measuring; at least 1,
            null for all; of a list's sources each.
    """

    shards: Shards
    prompt: Prompt
    answer: str
    split: Text = "train"
    signals: dict[Text, SensorName] = field(default_factory=dict)
    weight: Amount = 1.0
    limit: Count | None = None

    @property
    def folder(self) -> str:
        """The one shard folder."""
        if not isinstance(self.shards, str):
            raise ConfigError(f"shards={[one.path for one in self.shards]!r}: give one folder here.")
        return self.shards

    def conflicts(self) -> Iterable[str]:
        yield from pool_conflicts(self.shards, None)
        for one in () if isinstance(self.shards, str) else sources_of(self.shards):
            if one.val_split is not None:
                yield f"shards: {one.name!r} has a val_split, which is of stage one: name the split as split"


@dataclass(frozen=True)
class StartConfig(Strict):
    """A finished run of the same base, method and sensors, from whose end this one goes on.

    Args:
        run: its folder, relative to `root`.
        updates: "same" lets what it trained beside the base train on: dormant values in their places, LoRA's adapter,
            experts. "new", of LoRA alone, puts the merged weights in the base's place and starts another adapter on
            them. Where the base's own weights train, the two are one.
    """

    run: Folder
    updates: Literal["same", "new"] = "same"


@dataclass(frozen=True)
class ProbeConfig(Strict):
    """The answer-bias probe: how much probability a model gives to a set of words wherever it answers, see
    `pairalign.finetune.bias`.

    Args:
        words: "answers", the words of all validation answers; "numbers", digits, ordinals, decimals and number words,
            as the probe's source has them; or a list of words.
        own: probe along what the model itself says, too, of the base and of what is kept; costs one more round of
            answers, `train.measure_tokens` long. Along the right answers it is always probed.
    """

    words: Literal["answers", "numbers"] | tuple[Text, ...] = "answers"
    own: bool = False


@dataclass(frozen=True)
class RehearseConfig(Strict):
    """Prompts of other things with a signal put in, held to what the base says: what a signal that has nothing to do
    with a question would else do to its answer.

    Args:
        share: of every step's places that rehearse, 0 to below 1; 0 for none.
        weight: of their mean KL divergence from the base in the loss, nats an answer token, 0 or more.
        reference: what the base, the same model with its updates off, is asked: the same prompt without the signal
            ("plain"), or with it ("signal"), which the untaught base may misread.
        prompts: "calibration", samples of the calibration tasks; or "written", texts that the base writes by itself.
        tokens: longest answer of the base to a prompt that has none, which says along which text the two are
            compared.
    """

    share: Share = 0.0
    weight: Amount = 1.0
    reference: Literal["plain", "signal"] = "plain"
    prompts: Literal["calibration", "written"] = "calibration"
    tokens: Count = 16

    def conflicts(self) -> Iterable[str]:
        if self.share == 1:
            yield "share is 1, and leaves no place to learn: give less"


@dataclass(frozen=True)
class DistilConfig(Strict):
    """Answers held to the base's on the training tasks themselves, see `pairalign.finetune.distil`.

    Args:
        weight: λ, 0 or more; 0 for none.
        temperature: T, above 0.
    """

    weight: Amount = 0.0
    temperature: Positive = 2.0


@dataclass(frozen=True)
class TuneConfig(TrainerConfig):
    """Optimization of stage two. The others: see `TrainerConfig`.

    The loss of a step is the mean over all answer tokens of all its batches in all processes, and so are penalties on
    answers; one on weights counts once.

    Args:
        steps: optimizer steps; 0 measures what is there.
        batch_size: samples in a batch, in each process.
        lr: of the language model's trained weights, 0 or more; null for the method's own, which the run writes down:
            1e-3 for weights that act from their sensor on, 1e-4 for other parts and for LoRA, 2e-5 for whole models.
        bridge_lr: of the bridge, 0 or more.
        weight_decay: AdamW's, of the language model's trained weights, 0 or more.
        warmup: steps until the learning rates are reached.
        bridge_steps: steps before which only the bridge trains, 0 or more.
        validate_every: steps between measurements, 0 for none before the end.
        measure_batch_size: questions at once in a measurement.
        measure_tokens: longest free answer, which the base and what is kept give to the measured questions; 0 for none.
        measure_with_signals: whether the first `measure_signals_limit` questions of every held-out task are asked again
            of what is kept, compared with the base logit by logit, and with a signal in the prompt that has nothing to
            do with them: before everything the user says, and behind the last picture.
        measure_signals_limit: how many of each task, 1 or more.
        checkpoint_every: steps between checkpoints; 0 for none but that of an interrupted run.
        gradient_checkpointing: recompute activations in the backward pass.
        memory: GiB of training signals kept as stage one encoded them, so that each is read once; 0 for none.
        prefix_memory: GiB of the model's device for keys and values of what stands before prompts' first signals, where
            nothing of the model acts, so that each is read once; 0 to read them at every step, without a graph. A run
            that goes on after a kill is then equal up to rounding, because what is kept comes from other batches.
        prefix_disk: GiB of the run's folder for those that `prefix_memory` does not hold, in files that go when
            the run ends and are found again when it goes on; 0 for none. What is damaged or does not fit is read anew.
        vision_memory: GiB of the model's device for what the base's vision tower and projector, which are frozen, say
            of each picture, so that each is read once, by itself; 0 to read a batch's at every step, all at once, which
            rounds otherwise. See `pairalign.sensors.vision`.
        length_buckets: whether the samples of each window of 32 steps are sorted by length before they are dealt out to
            these steps, so that batches hold less padding; or the number of steps, from 1. See
            `pairalign.finetune.buckets`.
        workers: processes that read and collate batches ahead; 0 for none. They change no batch.
        bad_fraction: largest share of a task's training samples, 0 to 1, that may be damaged, or hold a text that
            spells one of the base's own words such as "<image>": each is named and left out of its batch, and none is
            replaced; 0 stops at the first. What is measured must be whole.
        rehearse: see `RehearseConfig`; its places are of the same batches, and its answer tokens have a mean of their
            own.
        distil: see `DistilConfig`.
        pull_back: how far from the base the language model's weights are kept after training, W0 + α (W1 − W0), 0 to 1;
            "auto" for what validation chooses within max_forgetting, see `pairalign.finetune.pull_back`; null for all.
        epochs: passes over the samples of all training tasks together, above 0, instead of steps; a run's own
            configuration says how many steps they were. Null for steps.
    """

    steps: Whole = STEPS
    batch_size: Count = 16
    lr: Amount | None = None
    bridge_lr: Amount = 1e-3
    weight_decay: Amount = 0.0
    warmup: Whole = 50
    bridge_steps: Whole = 0
    validate_every: Whole = 0
    measure_batch_size: Count = 32
    measure_tokens: Whole = 16
    measure_with_signals: bool = True
    measure_signals_limit: Count = 256
    checkpoint_every: Whole = 0
    gradient_checkpointing: bool = False
    memory: Amount = 2.0
    prefix_memory: Amount = 0.0
    prefix_disk: Amount = 0.0
    vision_memory: Amount = 0.0
    length_buckets: bool | Count = False
    workers: Whole = 0
    bad_fraction: Share = 0.0
    rehearse: RehearseConfig = field(default_factory=RehearseConfig)
    distil: DistilConfig = field(default_factory=DistilConfig)
    pull_back: Share | Literal["auto"] | None = None
    epochs: Positive | None = None

    def conflicts(self) -> Iterable[str]:
        if self.epochs is not None and self.steps != STEPS:
            yield f"epochs is {self.epochs:g} and steps {self.steps}: give one of the two"
        if self.epochs is None and self.bridge_steps > self.steps > 0:
            yield f"bridge_steps is {self.bridge_steps} and steps {self.steps}: give bridge_steps ≤ steps"


@dataclass(frozen=True)
class ForgettingConfig(Strict):
    """How much may be lost, in points of held-out accuracy; null for any number.

    Args:
        without_signal: of prompts as they are, since the base; 0 or more.
        with_signal: of the same with a signal put in that has nothing to do with them, at either position by itself,
            since before training: the base read them with the bridge that nobody had trained yet. 0 or more.
    """

    without_signal: Amount | None = None
    with_signal: Amount | None = None

    def conflicts(self) -> Iterable[str]:
        if self.without_signal is None and self.with_signal is None:
            yield "without_signal and with_signal are null: give one of them, or leave max_forgetting out"


@earlier_fields(senses="sensors")
@dataclass(frozen=True)
class RecomposeConfig(Strict):
    """Stage two, whole.

    Args:
        base: image-text-to-text model, hub name or local folder.
        sensors: by sensor name.
        tasks: what is learned, by name.
        out: the run folder.
        held_out: what must not be forgotten, never trained on, by name.
        validation: what says how well it was learned, by name.
        calibration: what the base does well, for scores that look at data and for directions; answers may be left out
            there.
        calibration_size: samples of each calibration task, 1 or more.
        dtype: of the base's weights, such as "bfloat16"; "auto" as stored.
        device_map: how the base is spread over devices, see `Loading`.
        attn_implementation: of the base, see `Loading`.
        revision: of the base on the hub, see `Loading`.
        trust_remote_code: run Python code that comes with the base, see `Loading`.
        load_in: "int8" or "nf4" keeps its linear layers in 8 or 4 bits; null as they are stored. Methods dormant (rows,
            columns, neurons, directions) and bridge; needs pairalign[quant].
        method: "dormant", or a baseline of `pairalign.finetune.methods`.
        options: of the method.
        dormant: what of which layers may learn, see `DormantConfig`.
        train: how long and how, see `TuneConfig`.
        scores: file that `pairalign score` wrote, instead of scoring again.
        cache: folder that keeps the base's scores by what they were made of (weights, calibration inputs, score and its
            settings), and its answers to the measured tasks likewise, so that no other run with the same scores or
            measures it again; null for none.
        score_cache: another folder for the scores; null for `cache`.
        installed: folders of sensor packs, or of deltas, for the same base, relative to `root`: their weights are left
            to them, so that all of them can be merged into one model, or act everywhere together. Packs that act from
            their sensor on install together without it.
        probe: see `ProbeConfig`.
        start: see `StartConfig`; null begins at the base. All figures, and max_forgetting, stay those against the base.
        max_forgetting: points of held-out accuracy, 0 or more, after whose loss training stops and goes back to the
            best measurement; the final weights are held to it, too. A number bounds what is lost without a signal in
            the prompt, and, where that is measured, with one; `ForgettingConfig` gives each a bound of its own.
        root: folder or address that shard folders and packs are relative to.
        seed: of everything that is drawn.
        plugins: files or modules that register encoders, loaded before anything else.
        log: loggers that are told what metrics.jsonl is: "csv", "mlflow", "tensorboard" or "wandb", or the path of a
            Lightning `Logger`, each alone or as {name: {option: value}}. They write below `out`/logs.
        callbacks: Lightning callbacks by the path of their class, package.module.Class or plugin.Class, alone or as
            {path: {option: value}}.
    """

    base: Folder
    sensors: dict[SensorName, SensorConfig]
    tasks: dict[Label, TaskConfig]
    out: Folder
    held_out: dict[Label, TaskConfig] = field(default_factory=dict)
    validation: dict[Label, TaskConfig] = field(default_factory=dict)
    calibration: dict[Label, TaskConfig] = field(default_factory=dict)
    calibration_size: Count = 128
    dtype: Text = "auto"
    device_map: Text | dict[str, Text | Whole] | None = None
    attn_implementation: Text | None = None
    revision: Text | None = None
    trust_remote_code: bool = False
    load_in: Literal["int8", "nf4"] | None = None
    method: Text = "dormant"
    options: Options = field(default_factory=dict)
    dormant: DormantConfig = field(default_factory=DormantConfig)
    train: TuneConfig = field(default_factory=TuneConfig)
    scores: Folder | None = None
    cache: Folder | None = None
    score_cache: Folder | None = None
    installed: tuple[Folder, ...] = ()
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    start: StartConfig | None = None
    max_forgetting: Amount | ForgettingConfig | None = None
    root: Folder = "."
    seed: Whole = 0
    plugins: tuple[Folder, ...] = ()
    log: Extensions = ()
    callbacks: Extensions = ()


SenseConfig = SensorConfig  # earlier name
