"""`pairalign encoders ls|show|check|new`: which encoders exist, what they promise, and a start for your own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pairalign.cli.device import add_device_argument, read_device
from pairalign.cli.settings import read_settings
from pairalign.core.errors import ConfigError
from pairalign.core.registry import create_encoder, encoder_entries, find_encoder, load_plugin
from pairalign.files import write_text
from pairalign.project.encoder import KINDS, encoder_files


def register(verbs: Any) -> None:
    """Add the verb and its four subverbs."""
    parser = verbs.add_parser("encoders", help="list, show, check and start encoders")
    subverbs = parser.add_subparsers(metavar="WHAT", required=True)
    for name, run, text in (
        ("ls", _ls, "every registered encoder and who owns it"),
        ("show", _show, "signal, options, parameters and card of one"),
        ("check", _check, "check every promise of one; exit 1 if any is broken"),
        ("new", _new, "write NAME.py, a working encoder, and test_NAME.py"),
    ):
        sub = subverbs.add_parser(name, help=text)
        sub.add_argument("--plugin", action="append", default=[], metavar="FILE", help="Python file with your encoder")
        if name != "ls":
            sub.add_argument("name")
        if name in ("show", "check"):
            sub.add_argument("options", nargs="*", metavar="option=value", help="options of the encoder")
        if name == "check":
            sub.add_argument("--pairs", metavar="SHARDS", help="feed real samples of a shard folder, not drawn ones")
            sub.add_argument("--field", help="of the shards; default: the one that the encoder can read")
            sub.add_argument("--split", help="of the shards; default: train, or the first")
            add_device_argument(sub)
        if name == "new":
            sub.add_argument("--kind", choices=sorted(KINDS), default="series")
        sub.set_defaults(run=run)


def _ls(args: argparse.Namespace) -> int:
    _load(args)
    entries = encoder_entries()
    width = max(map(len, entries), default=0)
    for entry in entries.values():
        print(f"{entry.name:<{width}}  {entry.owner}")
    return 0


def _show(args: argparse.Namespace) -> int:
    import inspect

    import yaml

    _load(args)
    encoder, entry = _create(args), find_encoder(args.name)
    s = encoder.signal
    trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    total = sum(p.numel() for p in encoder.parameters())
    print(f"{entry.name}: {inspect.getdoc(entry.load()) or ''}\n")
    print(f"owner       {entry.owner}")
    print(f"signal      {s.kind}, shape {s.shape}, {s.dtype}, axes {s.axes}")
    print(f"            unit {s.unit}, rate {s.rate} Hz, range {s.range}")
    print(f"width       {encoder.width}")
    print(f"parameters  {total:,}, of which {trained:,} train")
    for name, option in list(inspect.signature(entry.load().__init__).parameters.items())[1:]:
        print(f"option      {option if option.default is not option.empty else name}")
    print("card\n  " + yaml.safe_dump(dict(encoder.card), sort_keys=False).strip().replace("\n", "\n  "))
    return 0


def _check(args: argparse.Namespace) -> int:
    from pairalign.core.contract import check_encoder

    _load(args)
    encoder, samples = _create(args), None
    if args.pairs:
        from pairalign.data.raw_samples import raw_samples

        field, samples = raw_samples(encoder, args.pairs, args.field, args.split)
        print(f"fed: {len(samples)} samples of field {field!r}")
    elif args.field or args.split:
        raise ConfigError("--field and --split are of --pairs: name a shard folder, too.")
    promises = check_encoder(encoder.to(read_device(args)), samples)
    for promise in promises:
        print(f"{'kept  ' if promise.kept else 'BROKEN'}  {promise.name}" + f": {promise.detail}" * (not promise.kept))
    broken = sum(not promise.kept for promise in promises)
    print(f"{len(promises) - broken} of {len(promises)} promises kept")
    if broken and not args.pairs:
        print(
            f"fed: samples drawn in the declared shape {encoder.signal.shape}; where preprocess() takes raw samples of "
            "another form, feed real ones with --pairs SHARDS"
        )
    return 1 if broken else 0


def _new(args: argparse.Namespace) -> int:
    files = {Path(name): text for name, text in encoder_files(args.name, args.kind).items()}
    for path in files:
        if path.exists():
            raise ConfigError(f"{str(path)!r} exists already: choose another name, or move it away.")
    for path, text in files.items():
        write_text(path, text)
        print(f"wrote {path}")
    print(f"next: pairalign encoders check {args.name} --plugin {args.name}.py")
    return 0


def _load(args: argparse.Namespace) -> None:
    for plugin in args.plugin:
        load_plugin(plugin)


def _create(args: argparse.Namespace) -> Any:
    return create_encoder(args.name, **read_settings(args.options, "option", "name=value"))
