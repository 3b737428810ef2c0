"""`pairalign ask PACK --touch b.png --image a.jpg "Is it slippery?"`: one question to a model with packs installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.device import add_base_arguments, add_pull_back_argument, read_device, read_loading
from pairalign.cli.settings import load_plugins
from pairalign.cli.verbs import add_verb, shared_options
from pairalign.core.errors import PackError, did_you_mean


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        'pairalign ask packs/touch --touch b.png "how hard is it?"',
        'pairalign ask packs/touch --touch a.png --touch b.png "is {touch} softer than {touch}?" --json',
        'pairalign ask packs/touch --pack packs/points --image a.jpg --points b.npy "what is it?" --device cpu',
    )
    text = "ask a model with a sensor pack a question"
    parser = add_verb(verbs, "ask", text, examples=examples, description=_ASK)
    _add_arguments(parser)
    parser.set_defaults(run=run, signals=[])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pack", metavar="PACK", help="folder of a sensor pack, or ORG/NAME[@REVISION] on the Hub")
    parser.add_argument("question", metavar="QUESTION")
    parser.add_argument("--pack", dest="more", action="append", default=[], metavar="PACK", help="another pack")
    parser.add_argument("--base", help="hub name or folder of the base; default: what the pack was made for")
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help="a picture, repeatable")
    parser.add_argument("--SENSOR", metavar="FILE", help="a signal of the pack's sensor of this name, repeatable")
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="longest answer (64)")
    add_base_arguments(parser)
    add_pull_back_argument(parser)


_ASK = """Every sensor of the packs is an option: --touch FILE, --points FILE, repeatable. Pictures and signals
come before the question, in that order, unless it says where: "is {touch} softer than {touch}?".
--touch.sensor MAKE says which make of sensor all --touch files are from, to encoders that tell makes apart."""


def _own_options() -> set[str]:
    """`--NAME` of every option that this verb has itself."""
    parser = argparse.ArgumentParser(parents=[shared_options("ask")])
    _add_arguments(parser)
    return {name for action in parser._actions for name in action.option_strings} - {"--SENSOR"}


def split_signals(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Take `--NAME FILE` out of a command line, for every name that is no option of this verb."""
    own = _own_options()
    kept: list[str] = []
    found: list[tuple[str, str]] = []
    words = iter(argv)
    for word in words:
        name, sign, file = word.removeprefix("--").partition("=")
        if not word.startswith("--") or f"--{name}" in own:
            kept.append(word)
        else:
            found.append((name, file if sign else next(words, "")))
    return kept, found


def name_makes(signals: dict[str, list[Any]], makes: Mapping[str, str], sensors: Mapping[str, Any]) -> None:
    """Put the make of its sensor beside every signal; raise `PackError` for one that the encoder does not know."""
    for sensor, make in makes.items():
        encoder = sensors[sensor].encoder
        if not encoder.sensors:
            raise PackError(f"--{sensor}.sensor {make}: its encoder tells no makes of sensors apart: leave it out.")
        if make not in (*encoder.sensors, "unknown"):
            known, hint = ", ".join(encoder.sensors), did_you_mean(make, encoder.sensors)
            raise PackError(f"--{sensor}.sensor {make}: its encoder knows {known}.{hint}")
        signals[sensor] = [encoder.conform(value, {"sensor": make}) for value in signals.get(sensor, [])]


def run(args: argparse.Namespace) -> int:
    """Print the answer."""
    from pairalign.export.manifest import find_base, read_manifest
    from pairalign.export.sensor_pack import load_sensor_model
    from pairalign.hub.packs import find_pack
    from pairalign.sensors.answer import ask_model

    device, packs = read_device(args), [find_pack(pack) for pack in (args.pack, *args.more)]
    manifests = [read_manifest(pack) for pack in packs]
    sensors = [name for manifest in manifests for name in manifest.sensors]
    signals: dict[str, list[Any]] = {}
    makes: dict[str, str] = {}
    for name, file in args.signals:
        base = name.removesuffix(".sensor")
        if base not in sensors:
            raise PackError(f"--{name} {file}: the pack does not know this sensor.{did_you_mean(base, sensors)}")
        if name != base:
            makes[base] = file
            continue
        signals.setdefault(name, []).append(_read(file))
    pictures = [_read(file) for file in args.image]
    load_plugins(args)
    loading = read_loading(args)
    base = find_base(packs[0], args.base, trust_remote_code=loading.trust_remote_code)
    model, processor = load_sensor_model(base, packs, device=device, loading=loading, pull_back=args.pull_back)
    name_makes(signals, makes, processor.sensors)
    said = ask_model(model, processor, args.question, images=pictures, signals=signals, tokens=args.tokens)
    if said.silence:
        print(f"pairalign ask: {said.silence}", file=sys.stderr)
    record = {"question": args.question, "answer": None if said.silence else said.text, "silence": said.silence or None}
    answer(args, record, *([] if said.silence else [said.text]))
    return 0


def _read(file: str) -> Any:
    """A signal or a picture, as a shard would give it."""
    from pairalign.data.decode import read_signal

    return read_signal(file)
