"""`pairalign describe PACK --pairs SHARDS`: what a model says of every signal of a split, and how right it is."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.device import add_base_arguments, add_pull_back_argument, read_device, read_loading
from pairalign.cli.settings import load_plugins
from pairalign.cli.verbs import add_verb
from pairalign.core.arguments import check_arguments
from pairalign.core.bounds import Amount, Whole
from pairalign.core.errors import ConfigError, DataError


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign describe packs/touch --pairs shards --split test",
        "pairalign describe packs/touch --pairs shards --limit 100 --out described --device cpu --json",
    )
    text = "score a model's descriptions of a sensor's signals"
    parser = add_verb(verbs, "describe", text, examples=examples, description=_ABOUT)
    parser.add_argument("pack", metavar="PACK", help="folder of a sensor pack, or its ORG/NAME on the Hub, or a run")
    parser.add_argument("--pairs", required=True, metavar="SHARDS", help="shard folder with signals and references")
    parser.add_argument("--split", default="test", help="of the shards (test)")
    parser.add_argument("--train", default="train", help="split whose commonest adjectives are chance (train)")
    parser.add_argument("--base", help="hub name or folder of a pack's base; default: what the pack was made for")
    parser.add_argument("--prompt", help="fields in braces; default: the sensor and a question for a few adjectives")
    parser.add_argument("--reference", default="{text}", help='right answer, fields in braces ("{text}")')
    parser.add_argument("--signal", action="append", default=[], metavar="FIELD=SENSOR", help="sensor of a field")
    parser.add_argument("--protocol", help="tvl, ssvtp or tacquad: published data set that the shards hold")
    parser.add_argument("--synonyms", metavar="FILE", help="JSON of adjective and its synonyms, as TVL ships it")
    parser.add_argument("--vocabulary", metavar="FILE", help="adjectives to look for in running text, one a line")
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="longest answer (64)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="samples at once (8)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N samples")
    add_base_arguments(parser)
    add_pull_back_argument(parser)
    parser.add_argument("--out", metavar="DIR", help="where to write (PACK.descriptions, beside the pack)")
    parser.add_argument("--judge-url", metavar="URL", help="OpenAI-compatible endpoint that scores from 1 to 10")
    parser.add_argument("--judge-model", metavar="NAME", help="its model")
    parser.add_argument("--judge-key", metavar="VARIABLE", help="environment variable that holds its key")
    parser.add_argument("--judge-temperature", type=float, default=0.0, metavar="T", help="(0)")
    parser.add_argument("--judge-chance", type=int, default=100, metavar="N", help="judged frequent answers (100)")
    parser.add_argument("--seed", type=int, default=0, help="of decoding, bootstrap and shuffles")
    parser.set_defaults(run=run)


_ABOUT = """Answers go to answers.jsonl as they come, and the same command goes on where it was stopped; scores to
generation.json and generation.html."""


def run(args: argparse.Namespace) -> int:
    """Load, describe, score, print."""
    from pairalign.evaluate.generation.published import published
    from pairalign.evaluate.generation.run import score_descriptions
    from pairalign.finetune.describe import Decoding, describe_split
    from pairalign.hub.packs import find_pack
    from pairalign.hub.place import folder_name, is_cached
    from pairalign.runs.lock import alone

    device = read_device(args)
    published(args.protocol)
    scoring, decoding = _scoring(args), Decoding(args.tokens, args.batch_size, args.seed)
    _check_shards(args)
    load_plugins(args)
    folder = find_pack(args.pack)
    beside = folder_name(args.pack) if is_cached(folder) else args.pack.rstrip("/")
    out = Path(args.out or f"{beside}.descriptions")
    with alone(out):
        model, processor, identity, about = _load(args, folder, device)
        task = _task(args, list(processor.placeholders))
        task.check_signals(processor.sensors)
        settings: dict[str, Any] = {"identity": identity, "decoding": decoding, "progress": not args.quiet}
        described = describe_split(model, processor, task, out / "answers.jsonl", **settings)
        scoring = replace(scoring, sensor=next(iter(task.sensor.values()), "touch"))
        scoring, about = _with_training(scoring, task, args), about | _about(args, task, decoding, described)
        about["held_out"] = _held_out(folder)
        found = score_descriptions(
            described.descriptions,
            out,
            scoring,
            about=about,
            shown=described.shown,
            synthetic=about["pairs"]["synthetic"],
            progress=not args.quiet,
        )
    files = {"answers": out / "answers.jsonl", "metrics": found.path, "page": found.page}
    lines = ["what was not trained on, measured when the model was:"] if about["held_out"] else []
    lines += [*about["held_out"], found.table, *(f"differs: {text}" for text in found.result["differs"])]
    answer(args, {**found.result, "files": files}, *lines, *(f"{name}: {path}" for name, path in files.items()))
    return 0


def _scoring(args: argparse.Namespace) -> Any:
    """What needs no model, checked before one is loaded."""
    from pairalign.evaluate.generation.endpoint import Endpoint
    from pairalign.evaluate.generation.keywords import build_lexicon, read_synonyms
    from pairalign.evaluate.generation.run import Scoring

    rules = {"judge_temperature": Amount, "judge_chance": Whole, "seed": Whole}
    check_arguments({name: getattr(args, name) for name in rules}, rules)
    words: list[str] = []
    if args.vocabulary:
        try:
            words = Path(args.vocabulary).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"--vocabulary {args.vocabulary!r} cannot be read: {error}") from error
    lexicon = build_lexicon(read_synonyms(args.synonyms) if args.synonyms else None, words)
    judge = None
    if args.judge_url or args.judge_model:
        if not (args.judge_url and args.judge_model):
            raise ConfigError("a judge needs both: give --judge-url and --judge-model.")
        judge = Endpoint(args.judge_url, args.judge_model, args.judge_key, args.judge_temperature)
    return Scoring(args.protocol, lexicon, judge=judge, judge_chance=args.judge_chance, seed=args.seed)


def _check_shards(args: argparse.Namespace) -> None:
    from pairalign.data.index import load_index

    if args.limit is not None and args.limit < 2:
        raise ConfigError(f"--limit {args.limit}: give at least 2, one sample has no chance level.")
    load_index(args.pairs).split(args.split, args.pairs)


def _load(args: argparse.Namespace, folder: Path, device: Any) -> tuple[Any, Any, str, dict[str, Any]]:
    """Model, processor, what identifies them, and what the result says of them."""
    from pairalign.export.manifest import NAME, find_base, read_manifest
    from pairalign.export.sensor_pack import load_sensor_model
    from pairalign.files import sha256_file
    from pairalign.finetune.run import load_recomposed

    if (folder / "results.json").is_file() and not (folder / NAME).is_file():
        if args.base:
            raise ConfigError(f"--base {args.base!r}: a run has its own base; leave it out, or give an exported pack.")
        if args.revision or args.attn_implementation or args.load_in:
            own = "--revision, --attn-implementation, --load-in"
            raise ConfigError(f"{own}: a run has its own; set them in its config.yaml.")
        if args.pull_back != 1:
            raise ConfigError(f"--pull-back {args.pull_back:g}: a run has its own train.pull_back: give a pack.")
        how = {"plugins": args.plugin, "trust_remote_code": args.trust_remote_code}
        loaded = load_recomposed(folder, device, **how)
        identity = f"run {sha256_file(folder / 'results.json')} {sha256_file(folder / 'bridge.safetensors')}"
        about = {"model": {"run": folder.name, "base": loaded.config.base, "method": loaded.config.method}}
        return loaded.model, loaded.processor, identity, about
    manifest = read_manifest(folder)
    base = find_base(folder, args.base, trust_remote_code=args.trust_remote_code)
    loading = {"loading": read_loading(args), "pull_back": args.pull_back}
    model, processor = load_sensor_model(base, [folder], device=device, **loading)
    identity = f"pack {sha256_file(folder / NAME)} {manifest.base['embedding']}"
    identity += f" {args.load_in}" if args.load_in else ""
    identity += f" pulled back to {args.pull_back:g}" if args.pull_back != 1 else ""
    about = {"model": {"pack": folder.name, "base": manifest.base["name"], "dtype": manifest.base["dtype"]}}
    return model, processor, identity, about


def _held_out(folder: Path) -> list[str]:
    """What a run, or a pack, tells of abilities that it had before, in lines; of an earlier version nothing."""
    from pairalign.core.limits import parse_json
    from pairalign.finetune.three_figures import held_out_lines

    path = folder / "results.json"
    try:
        return list(held_out_lines(parse_json(path.read_bytes(), "the results", "table")))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error!r}): copy it again.") from error


def _task(args: argparse.Namespace, sensors: list[str]) -> Any:
    from pairalign.core.secrets import hide
    from pairalign.data.index import load_index
    from pairalign.evaluate.generation.published import question
    from pairalign.finetune.config import TaskConfig
    from pairalign.finetune.tasks import Task

    signals = {}
    for text in args.signal:
        field, sign, sensor = text.partition("=")
        if not sign:
            raise ConfigError(f"--signal {text!r}: write it as FIELD=SENSOR, such as tactile=touch.")
        signals[field] = sensor
    fields = [f for f in load_index(args.pairs).modalities if f in signals or f in sensors]
    if args.prompt is None and not fields:
        known = ", ".join(sensors)
        raise ConfigError(
            f"--pairs {hide(args.pairs)!r} hold no field of a sensor ({known}): name it with --signal FIELD=SENSOR."
        )
    prompt = args.prompt or f"{{{fields[0]}}} {question(signals.get(fields[0], fields[0]))}"
    config = TaskConfig(args.pairs, prompt, args.reference, args.split, signals, limit=args.limit)
    return Task("describe", config, ".", sensors)


def _with_training(scoring: Any, task: Any, args: argparse.Namespace) -> Any:
    from pairalign.data.index import load_index
    from pairalign.finetune.describe import references

    known = load_index(args.pairs).every_split
    there = args.train in known and known[args.train].count and args.train != args.split
    return replace(scoring, training=references(task, args.train) if there else ())


def _about(args: argparse.Namespace, task: Any, decoding: Any, described: Any) -> dict[str, Any]:
    from pairalign import __version__
    from pairalign.data.index import load_index
    from pairalign.data.place import find_place
    from pairalign.sensors.answer import GREEDY

    index = load_index(args.pairs)
    greedy = {name: value for name, value in GREEDY.items() if value is not None}
    return {
        "pairs": {"folder": find_place(args.pairs).name, "content": index.content_hash, "source": index.source,
                  "synthetic": index.synthetic},
        "split": args.split,
        "prompt": task.config.prompt,
        "reference": task.config.answer,
        "decoding": {"max_new_tokens": decoding.tokens, "batch_size": decoding.batch_size, **greedy},
        "synonyms": Path(args.synonyms).name if args.synonyms else None,
        "limit": args.limit,
        "damaged": described.bad,
        "pairalign": __version__,
    }  # fmt: skip
