"""`pairalign translate RUN --from touch --to image FILES --out DIR`: draw one modality from another, or measure it."""

from __future__ import annotations

import argparse
from typing import Any

from pairalign.cli.answer import answer
from pairalign.cli.device import read_device
from pairalign.cli.evaluate import run_folder
from pairalign.cli.verbs import add_verb
from pairalign.core.errors import ConfigError


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign translate run touch.png --from touch --to image --out drawn",
        "pairalign translate run --from touch --to image --measure --pairs shards --json",
    )
    text = "draw one modality from another, as a picture from a touch"
    parser = add_verb(verbs, "translate", text, examples=examples)
    parser.add_argument("run_folder", metavar="RUN", help="folder that `pairalign align` wrote")
    parser.add_argument("files", nargs="*", metavar="FILE", help="signals to draw from")
    parser.add_argument("--from", dest="source", required=True, metavar="NAME", help="modality of the files")
    parser.add_argument("--to", dest="target", required=True, metavar="NAME", help="modality that is drawn")
    parser.add_argument(
        "--through",
        default="decoder",
        choices=("decoder", "retrieval", "diffusers"),
        help="stage one's own decoder (default), the nearest stored sample, or a pretrained --pipeline",
    )
    parser.add_argument("--pipeline", metavar="NAME", help="of diffusers: hub name or folder, drawing from embeddings")
    parser.add_argument("--steps", type=int, metavar="N", help="of the pipeline's denoising; default: its own")
    parser.add_argument("--rest", default="mean", help="what does not cross: mean (default), or nearest true samples")
    parser.add_argument(
        "--among", action="append", metavar="SHARDS", help="true samples; default: the run's, repeatable"
    )
    parser.add_argument("--gallery", type=int, metavar="N", help="most true samples (2000)")
    parser.add_argument("--measure", action="store_true", help="what of the factors is in drawings of held-out pairs")
    parser.add_argument("--pairs", metavar="SHARDS", help="shard folder that is measured")
    parser.add_argument("--split", help="of the pairs (val)")
    parser.add_argument("--limit", type=int, metavar="N", help="most pairs that are measured (1000)")
    parser.add_argument(
        "--sees", action="append", metavar="NAME=FACTORS", help="factors that a modality can see, by commas"
    )
    parser.add_argument("--out", metavar="DIR", help="where to write; measured: RUN/translation/FROM-TO-WAY")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw or measure, and print."""
    _check(args)
    device = read_device(args)
    options: dict[str, Any] = {
        "source": args.source,
        "target": args.target,
        "through": _through(args, device),
        "rest": args.rest,
        "among": args.among,
        "out": args.out,
        "seed": args.seed,
        "device": device,
        "progress": not args.quiet,
    }
    if args.gallery is not None:
        options["gallery"] = args.gallery
    return _measure(args, options) if args.measure else _draw(args, options)


def _draw(args: argparse.Namespace, options: dict[str, Any]) -> int:
    from pairalign.translation.run import translate

    found = translate(run_folder(args), args.files, **options)
    lines = [
        f"{line['file']} → {found.folder / line['written']}  "
        f"nearest {line['nearest']['key']} (cosine {line['nearest']['cosine']:.2f})"
        for line in found.record["files"]
    ]
    lines.append(f"record: {found.folder / 'translation.json'}\npicture: {found.folder / 'translation.png'}")
    answer(args, found.record, *lines)
    return 0


def _measure(args: argparse.Namespace, options: dict[str, Any]) -> int:
    from pairalign.evaluate.report import text_table
    from pairalign.translation.measure import measure_translation
    from pairalign.translation.tables import distance_rows, factor_rows

    options |= {name: value for name in ("split", "limit") if (value := getattr(args, name)) is not None}
    found = measure_translation(run_folder(args), args.pairs, visible=_visible(args.sees), **options)
    tables = (factor_rows(found.record), distance_rows(found.record))
    lines = [text_table(*rows) + "\n" for rows in tables if rows[1]]
    notes = (found.record.get("note"), found.record["frechet"].get("refused"))
    lines += [f"note: {note}" for note in notes if note]
    lines.append(f"table: {found.folder / 'translation.md'}\npicture: {found.folder / 'translation.png'}")
    answer(args, found.record, *lines)
    return 0


def _check(args: argparse.Namespace) -> None:
    """What goes together."""
    if args.measure == bool(args.files):
        what = f"FILE {args.files[0]!r} and --measure" if args.files else "neither FILE nor --measure"
        raise ConfigError(f"{what}: give files to draw from, or --measure with --pairs.")
    for option in ("pairs",) if args.measure else ("out",):
        if getattr(args, option) is None:
            raise ConfigError(f"--{option} is missing: say {'what to measure' if args.measure else 'where to write'}.")
    for option in ("pairs", "split", "limit", "sees"):
        if not args.measure and getattr(args, option) is not None:
            raise ConfigError(f"--{option} goes with --measure: leave it out, or measure.")
    for option in ("pipeline", "steps"):
        if args.through != "diffusers" and getattr(args, option) is not None:
            raise ConfigError(f"--{option} goes with --through diffusers.")
    if args.through == "diffusers" and args.pipeline is None:
        raise ConfigError("--through diffusers needs --pipeline NAME, a hub name or folder.")


def _through(args: argparse.Namespace, device: Any) -> Any:
    if args.through != "diffusers":
        return args.through
    from pairalign.translation.diffusion import load_drawer

    return load_drawer(args.pipeline, device, steps=args.steps, seed=args.seed)


def _visible(texts: list[str] | None) -> dict[str, list[str]] | None:
    if texts is None:
        return None
    found = {}
    for text in texts:
        name, sign, factors = text.partition("=")
        if not sign:
            raise ConfigError(f"--sees {text!r}: write it as NAME=FACTOR,FACTOR, or NAME= for none.")
        found[name] = [factor for factor in factors.split(",") if factor]
    return found
