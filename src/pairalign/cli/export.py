"""`pairalign export RUN PACK [--merge] [--lora FOLDER]`: a finished run of stage two as a sensor pack."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pairalign.cli.device import add_device_argument, add_trust_argument, read_device
from pairalign.cli.settings import add_plugin_argument


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("export", help="write a sensor pack that others can install")
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
    add_device_argument(parser)
    add_trust_argument(parser)
    add_plugin_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write it and list it."""
    from pairalign.export.merged import merged_report
    from pairalign.export.sensor_pack import export_pack

    how = {"device": read_device(args), "trust_remote_code": args.trust_remote_code, "plugins": args.plugin}
    out = export_pack(args.run_folder, args.out, merge=args.merge, lora=args.lora, others=args.others, **how)
    for folder in (out, Path(args.lora)) if args.lora else (out,):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                print(f"{path.relative_to(folder)!s:<36}{path.stat().st_size / 2**20:>10.2f} MiB")
    if args.merge and (lines := merged_report(json.loads((out / "results.json").read_text(encoding="utf-8")))):
        print("merged weights act at every token:", *lines, sep="\n")
    if args.lora:
        print(f"lora: {args.lora}, compared in PEFT with the merged model")
    print(f"pack: {out}\nnext: pairalign ask {out} --SENSOR FILE QUESTION")
    return 0
