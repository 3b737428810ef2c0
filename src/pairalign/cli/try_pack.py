"""`pairalign try PACK --pairs SHARDS`: a page on which a person tries a pack."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.device import add_base_arguments, add_pull_back_argument, read_device, read_loading
from pairalign.cli.settings import load_plugins
from pairalign.cli.verbs import add_verb
from pairalign.core.errors import ConfigError

_TRY = """A page in the browser: drop or pick a signal, add a picture, ask in a chat, see the answer as it is
written, the nearest examples, words with probabilities, and the same question with the signal blanked or exchanged.
It is served to this machine alone, unless --host says otherwise, and ends with Ctrl-C."""


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign try packs/touch --pairs shards --run runs/space",
        "pairalign try org/touch --base models/llava --device cpu --port 7000",
    )
    parser = add_verb(verbs, "try", "a page to try a sensor pack", examples=examples, description=_TRY)
    parser.add_argument("pack", metavar="PACK", help="folder of a sensor pack, or ORG/NAME[@REVISION] on the Hub")
    parser.add_argument("--pack", dest="more", action="append", default=[], metavar="PACK", help="another pack")
    parser.add_argument("--base", help="hub name or folder of the base; default: what the pack was made for")
    parser.add_argument("--pairs", metavar="SHARDS", help="shard folder that the examples are of")
    parser.add_argument("--split", help="of the shards; default: val, else the first that there is")
    parser.add_argument("--run", dest="space", metavar="RUN", help="run of stage one, for words and probabilities")
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="longest answer (64)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (127.0.0.1); 0.0.0.0 for everybody")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    add_base_arguments(parser)
    add_pull_back_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load, serve, and wait."""
    if find_spec("gradio") is None:
        raise ConfigError("pairalign try needs gradio: pip install 'pairalign[app]'.")
    from pairalign.app.page import CSS, build_page, theme

    session, name, questions = open_session(args)
    page = build_page(session, name, questions)
    where: dict[str, Any] = {"server_name": args.host, "server_port": args.port, "inbrowser": args.open}
    how = {"theme": theme(), "css": CSS, "share": False, "quiet": True, "prevent_thread_lock": True}
    try:
        _, address, _ = page.launch(**where, **how, footer_links=[])
    except OSError as error:  # the port is taken
        raise ConfigError(f"--host {args.host} --port {args.port}: {error}") from error
    answer(args, {"address": address}, f"{name}: {address}", "Ctrl-C ends it")
    try:
        page.block_thread()
    finally:
        page.close()
    return 0


def open_session(args: argparse.Namespace) -> tuple[Any, str, list[str]]:
    """The session that the arguments ask for, what to call it, and what the packs were taught to answer."""
    from pairalign.align.run import load_aligned
    from pairalign.app.examples import read_examples
    from pairalign.app.session import Session
    from pairalign.core.arguments import check_arguments
    from pairalign.core.bounds import Count
    from pairalign.data.index import load_index
    from pairalign.export.manifest import find_base, read_manifest
    from pairalign.export.sensor_pack import load_sensor_model
    from pairalign.hub.packs import find_pack

    check_arguments({"tokens": args.tokens}, {"tokens": Count})
    split = args.split
    if args.pairs:  # before the model is loaded
        index = load_index(args.pairs)
        split = split or next((name for name in ("val", "test") if name in index.every_split), None)
        if split:
            index.split(split, args.pairs)
    load_plugins(args)
    device, packs = read_device(args), [find_pack(pack) for pack in (args.pack, *args.more)]
    loading = read_loading(args)
    base = find_base(packs[0], args.base, trust_remote_code=loading.trust_remote_code)
    space = load_aligned(args.space, device, plugins=args.plugin) if args.space else None
    model, processor = load_sensor_model(base, packs, device=device, loading=loading, pull_back=args.pull_back)
    examples = read_examples(model, processor, args.pairs, split) if args.pairs else {}
    name = f"{', '.join(processor.sensors)} for {read_manifest(packs[0]).base['name']}"
    return Session(model, processor, examples, space, args.tokens), name, questions_of(packs)


def questions_of(packs: list[Path]) -> list[str]:
    """Prompts with one signal that the packs were taught, four at most; none of an earlier version's pack."""
    from pairalign.core.record import read_record

    found: list[str] = []
    for pack in packs:
        path = pack / "results.json"
        asked = read_record(path, dict[str, Any]).get("asked", {}) if path.is_file() else {}
        for one in asked.values() if isinstance(asked, dict) else ():
            if isinstance(one, dict) and all(len(files) == 1 for files in dict(one.get("files", {})).values()):
                found.append(str(one.get("prompt", "")))
    return [text for text in dict.fromkeys(found) if text][:4]
