"""`pairalign recompose config.yaml [section.key=value …]`: teach a language model its new sense.

Note:
    Under --max-forgetting the run may keep other weights than its last; the exit code says whether what it keeps has
    learned anything.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairalign.cli.align import read_plugins
from pairalign.cli.answer import answer
from pairalign.cli.completion import offer, settings
from pairalign.cli.device import add_trust_argument, read_device, with_device
from pairalign.cli.verbs import add_verb
from pairalign.core.config import load_config
from pairalign.core.errors import StorageError
from pairalign.core.exits import DONE, NOTHING_LEARNED

if TYPE_CHECKING:
    from pairalign.finetune.load import RecomposeRun


def register(verbs: Any) -> None:
    """Add the verb."""
    examples = (
        "pairalign recompose teach.yaml --dry-run",
        "pairalign recompose teach.yaml train.steps=500 --max-forgetting 1",
        "pairalign recompose teach.yaml --fresh --json --quiet > results.json",
    )
    text = "stage two: let a language model read a sensor"
    parser = add_verb(verbs, "recompose", text, examples=examples, epilog=_EXIT)
    parser.add_argument("config", help="YAML file of a RecomposeConfig")
    overrides = parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="override settings of the file"
    )
    offer(overrides, settings("recompose"))
    parser.add_argument(
        "--dry-run", action="store_true", help="try it out: what trains, memory, delta and time; no more"
    )
    parser.add_argument("--max-forgetting", type=float, metavar="POINTS", help=_GATE)
    parser.add_argument("--fresh", action="store_true", help="set aside the run in `out` as OUT.old-N, and start over")
    add_trust_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, then say what was learned and forgotten."""
    from pairalign.finetune.config import RecomposeConfig

    config = load_config(RecomposeConfig, args.config, args.overrides)
    config = with_device(replace(config, plugins=(*config.plugins, *read_plugins(args))), args)
    if args.trust_remote_code:
        config = replace(config, trust_remote_code=True)
    if args.max_forgetting is not None:
        config = replace(config, max_forgetting=args.max_forgetting)
    read_device(args, config.train.accelerator)
    from pairalign.finetune.run import plan_recompose, recompose_mllm
    from pairalign.processes.launch import current

    if args.dry_run:
        plan = plan_recompose(config)
        answer(args, plan.record(), str(plan))
        return DONE
    done = recompose_mllm(config, progress=not args.quiet, fresh=args.fresh)
    code = DONE if done.results.get("kept", {"learned": True})["learned"] else NOTHING_LEARNED
    if not current().main:
        return code
    page = written_page(done)
    lines = [f"finished {done.finished}, nothing was trained; the figures are of then"] if done.finished else []
    lines += [*report(done.results), f"run: {done.folder}", *([f"report: {page}"] if page else [])]
    lines += [f"next: pairalign export {done.folder} PACK"]
    record = {"run": done.folder, "files": {"report": page}, "finished": done.finished, **done.results}
    answer(args, record, *lines, *conclusion(done.results))
    return code


def written_page(done: RecomposeRun) -> Path | None:
    """The page of a run, made where it is not there yet; None where an earlier run's folder cannot be written."""
    from pairalign.finetune.page import PAGE, write_page

    if done.finished and (done.folder / PAGE).is_file():
        return done.folder / PAGE
    try:
        return write_page(done.folder, done.config, done.results)
    except StorageError:
        if done.finished:
            return None
        raise


def report(results: dict[str, Any]) -> list[str]:
    """A line for every task: accuracy before and after, and how many free answers have the right words in them; of
    those that must not be lost also how far they are the base's, and what they are with a signal in the prompt."""
    from pairalign.finetune.three_figures import asked_again, lines_of

    lines, again = [], asked_again(results)
    for part in ("validation", "held_out"):
        for name, now in results["after"].get(part, {}).items():
            before = results["base"][part][name]
            count = sum(kind["n"] for kind in now["kinds"].values())
            line = f"{part}/{name:<24} {before['accuracy']:.3f} → {now['accuracy']:.3f}  (n {count})"
            if now.get("contains"):
                said = [score["contains"]["value"] for score in (before, now)]
                line += f"  words in a free answer {said[0]:.3f} → {said[1]:.3f}"
            lines.append(line)
            if part == "held_out" and name in again:
                lines += [f"  {more}" for more in lines_of(again[name])]
    return lines + _taken(results.get("base_from", {}))


def _taken(found: dict[str, dict[str, str]]) -> list[str]:
    """Where figures of the base come from that another run measured."""
    places = sorted({(one["when"][:16].replace("T", " "), str(Path(one["from"]).parent)) for one in found.values()})
    return [
        f"base measured {when}, taken from {folder}: "
        + ", ".join(name for name, one in found.items() if one["when"][:16].replace("T", " ") == when)
        for when, folder in places
    ]


def conclusion(results: dict[str, Any]) -> list[str]:
    """What was kept, learned and forgotten; of a run of an earlier version as far as it says."""
    from pairalign.finetune.three_figures import points_line

    lines = [*_held(results), *([results["stopped"]] if results["stopped"] else [])]
    if "kept" in results:
        nothing = "" if results["kept"]["learned"] else ": nothing was learned"
        lines.append(f"kept        the weights of step {results['kept']['step']}{nothing}")
    for name, part in (("learning", "validation"), ("forgetting", "held_out")):
        found = results.get(name)
        if found is None:
            lines.append(f"{name:<12}not measured: the configuration has no {part} tasks")
        else:
            count = sum(kind["n"] for score in results["after"][part].values() for kind in score["kinds"].values())
            worst = f"worst {found['worst']} {found['worst_points']:+z.1f}"
            lines.append(f"{name:<12}{found['points']:+z7.1f} points  (n {count}, {worst})")
    with_signal = points_line(results)
    if with_signal is not None:
        lines.append(f"  with {with_signal}")
    return lines


def _held(results: dict[str, Any]) -> list[str]:
    """What was lost of all that `max_forgetting` bounds, with a signal in the prompt since before training."""
    parts = results.get("gate") or []
    said = [f"{one['lost']:+z.1f} of {one['bound']:g} {one['part']}" for one in parts if one["bound"] is not None]
    return [f"held to     max_forgetting: lost {', '.join(said)}"] if said else []


_GATE = """points of held-out accuracy that may be lost, without a signal in the prompt and with one; beyond them the
best measurement within the bound comes back"""
_EXIT = """exit codes: 0, what is kept is within --max-forgetting (also where that is an earlier step than the last); 4,
nothing within --max-forgetting was learned, and the weights of the start are kept; 2, something does not fit."""
