"""`pairalign export RUN PACK [--merge] [--lora FOLDER]`: a finished run of stage two as a sensor pack."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.device import add_trust_argument, read_device
from pairalign.cli.verbs import add_verb


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign export taught packs/touch",
        "pairalign export taught packs/touch --merge --lora lora --device cpu",
    )
    parser = add_verb(verbs, "export", "write a sensor pack that others can install", examples=examples)
    parser.add_argument("run_folder", metavar="RUN", help="folder that `pairalign recompose` wrote")
    parser.add_argument("out", metavar="PACK", help="new folder for the pack")
    parser.add_argument(
        "--merge",
        action="store_true",
        help="also the whole model as a plain Hugging Face checkpoint, in PACK/merged; methods that change the model's "
        "own weights, such as full and lora, need it",
    )
    parser.add_argument(
        "--lora",
        metavar="FOLDER",
        help="also the update as a PEFT LoRA folder, for servers that load LoRA: it acts at every token there",
    )
    parser.add_argument(
        "--with",
        dest="others",
        metavar="PACK",
        action="append",
        default=[],
        help="merge this sensor pack in, too, whose weights the run left alone (`installed` in its configuration)",
    )
    add_trust_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write it and list it."""
    from pairalign.export.merged import merged_report
    from pairalign.export.sensor_pack import export_pack

    how = {"device": read_device(args), "trust_remote_code": args.trust_remote_code, "plugins": args.plugin}
    out = export_pack(args.run_folder, args.out, merge=args.merge, lora=args.lora, others=args.others, **how)
    sizes = {folder: _sizes(Path(folder)) for folder in (out, args.lora) if folder}
    lines = [f"{name:<36}{size / 2**20:>10.2f} MiB" for files in sizes.values() for name, size in files.items()]
    merged = merged_report(json.loads((out / "results.json").read_text(encoding="utf-8"))) if args.merge else []
    if merged:
        lines += ["merged weights act at every token:", *merged]
    if args.lora:
        lines.append(f"lora: {args.lora}, compared in PEFT with the merged model")
    lines.append(f"pack: {out}\nnext: pairalign ask {out} --SENSOR FILE QUESTION")
    answer(args, {"pack": out, "lora": args.lora, "bytes": sizes, "merged": merged}, *lines)
    return 0


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes by name of every file below."""
    return {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
