"""`pairalign encoders ls|show|check|new`: which encoders exist, what they promise, and a start for your own."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.completion import encoders as offered
from pairalign.cli.completion import offer
from pairalign.cli.device import read_device
from pairalign.cli.settings import load_plugins, read_settings
from pairalign.cli.verbs import add_verb
from pairalign.core.errors import ConfigError
from pairalign.core.exits import DONE, FOUND
from pairalign.core.registry import create_encoder, encoder_entries, find_encoder
from pairalign.files import write_text
from pairalign.project.encoder import KINDS, encoder_files


def register(verbs: Any) -> None:
    """Add the verb and its four subverbs."""
    parser = verbs.add_parser("encoders", help="list, show, check and start encoders")
    subverbs = parser.add_subparsers(metavar="WHAT", required=True)
    for name, run, text, examples in (
        ("ls", _ls, "every registered encoder and who owns it", ("ls --json", "ls --plugin glove.py")),
        ("show", _show, "signal, options, parameters and card of one", ("show series channels=6 unit=N",)),
        (
            "check",
            _check,
            "check every promise of one; exit 1 if any is broken",
            ("check glove --plugin glove.py", "check glove --plugin glove.py --pairs shards --device cpu"),
        ),
        ("new", _new, "write NAME.py, a working encoder, and test_NAME.py", ("new glove --kind series",)),
    ):
        commands = [f"pairalign encoders {words}" for words in examples]
        sub = add_verb(subverbs, f"encoders {name}", text, examples=commands)
        if name != "ls":
            named = sub.add_argument("name")
        if name in ("show", "check"):
            offer(named, offered)
            sub.add_argument("options", nargs="*", metavar="option=value", help="options of the encoder")
        if name == "check":
            sub.add_argument("--pairs", metavar="SHARDS", help="feed real samples of a shard folder, not drawn ones")
            sub.add_argument("--field", help="of the shards; default: the one that the encoder can read")
            sub.add_argument("--split", help="of the shards; default: train, or the first")
        if name == "new":
            sub.add_argument("--kind", choices=sorted(KINDS), default="series")
        sub.set_defaults(run=run)


def _ls(args: argparse.Namespace) -> int:
    load_plugins(args)
    entries = encoder_entries()
    width = max(map(len, entries), default=0)
    lines = [f"{entry.name:<{width}}  {entry.owner}" for entry in entries.values()]
    answer(args, {"encoders": {entry.name: entry.owner for entry in entries.values()}}, *lines)
    return DONE


def _show(args: argparse.Namespace) -> int:
    import inspect

    import yaml

    load_plugins(args)
    encoder, entry = _create(args), find_encoder(args.name)
    s, about = encoder.signal, inspect.getdoc(entry.load()) or ""
    trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    total = sum(p.numel() for p in encoder.parameters())
    options = list(inspect.signature(entry.load().__init__).parameters.items())[1:]
    lines = [
        f"{entry.name}: {about}\n",
        f"owner       {entry.owner}",
        f"signal      {s.kind}, shape {s.shape}, {s.dtype}, axes {s.axes}",
        f"            unit {s.unit}, rate {s.rate} Hz, range {s.range}",
        f"width       {encoder.width}",
        f"parameters  {total:,}, of which {trained:,} train",
        *(f"option      {option if option.default is not option.empty else name}" for name, option in options),
        "card\n  " + yaml.safe_dump(dict(encoder.card), sort_keys=False).strip().replace("\n", "\n  "),
    ]
    record = {"name": entry.name, "about": about, "owner": entry.owner, "signal": asdict(s), "width": encoder.width}
    record |= {"parameters": total, "trained": trained, "card": dict(encoder.card)}
    record["options"] = {name: None if one.default is one.empty else str(one.default) for name, one in options}
    answer(args, record, *lines)
    return DONE


def _check(args: argparse.Namespace) -> int:
    from pairalign.core.contract import check_encoder

    load_plugins(args)
    encoder, samples, field = _create(args), None, None
    lines = []
    if args.pairs:
        from pairalign.data.raw_samples import raw_samples

        field, samples = raw_samples(encoder, args.pairs, args.field, args.split)
        lines.append(f"fed: {len(samples)} samples of field {field!r}")
    elif args.field or args.split:
        raise ConfigError("--field and --split are of --pairs: name a shard folder, too.")
    promises = check_encoder(encoder.to(read_device(args)), samples)
    for promise in promises:
        said = f"{'kept  ' if promise.kept else 'BROKEN'}  {promise.name}"
        lines.append(said + f": {promise.detail}" * (not promise.kept))
    broken = sum(not promise.kept for promise in promises)
    lines.append(f"{len(promises) - broken} of {len(promises)} promises kept")
    if broken and not args.pairs:
        lines.append(
            f"fed: samples drawn in the declared shape {encoder.signal.shape}; where preprocess() takes raw samples of "
            "another form, feed real ones with --pairs SHARDS"
        )
    fed = {"field": field, "samples": None if samples is None else len(samples)}
    answer(args, {"encoder": args.name, "fed": fed, "promises": promises, "broken": broken}, *lines)
    return FOUND if broken else DONE


def _new(args: argparse.Namespace) -> int:
    files = {Path(name): text for name, text in encoder_files(args.name, args.kind).items()}
    for path in files:
        if path.exists():
            raise ConfigError(f"{str(path)!r} exists already: choose another name, or move it away.")
    for path, text in files.items():
        write_text(path, text)
    lines = [*(f"wrote {path}" for path in files)]
    lines.append(f"next: pairalign encoders check {args.name} --plugin {args.name}.py")
    answer(args, {"wrote": list(files)}, *lines)
    return DONE


def _create(args: argparse.Namespace) -> Any:
    return create_encoder(args.name, **read_settings(args.options, "option", "name=value"))
