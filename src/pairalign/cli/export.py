"""`pairalign export RUN PACK [--merge]`: a finished run of stage two as a sensor pack."""

from __future__ import annotations

import argparse
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
    add_device_argument(parser)
    add_trust_argument(parser)
    add_plugin_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write it and list it."""
    from pairalign.export.sensor_pack import export_pack

    how = {"device": read_device(args), "trust_remote_code": args.trust_remote_code, "plugins": args.plugin}
    out = export_pack(args.run_folder, args.out, merge=args.merge, **how)
    for path in sorted(out.rglob("*")):
        if path.is_file():
            print(f"{path.relative_to(out)!s:<36}{path.stat().st_size / 2**20:>10.2f} MiB")
    print(f"pack: {out}\nnext: pairalign ask {out} --SENSOR FILE QUESTION")
    return 0
