"""Kills −9, TERM and INT at random moments, the same command again, and every file held against an undisturbed run's.

A trial: a command is signalled one to three times, each time in a run of its own that goes on from the one before, at a
moment drawn over an undisturbed run's duration or aimed at the writing of a checkpoint, a shard, an index; then the
command runs to its end, and `undisturbed.differences` compares all that is there. After each signal, exit codes have to
be those that docs/processes.md promises, and no process may be left. A trial in which the command ended before the
first signal is drawn again.

Note:
    Trials are kept, one line each, in work/kills/trials.jsonl: whoever calls it again goes on there. Delete the folder
    after the code was changed.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import traceback
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reliability.commands import Case, cases, prepare
from reliability.groups import End, Moment, run_group

COUNT = 20
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT}
DRAWS = 8  # moments drawn until one comes before the end
LOST = 70  # exit code of a process that the death of another one ended


def measure(work: Path, count: int, seed: int, only: str = "") -> dict[str, Any]:
    """Try every signal `count` times on every case; only: those whose name, "align, 1 process, accumulate 1 KILL 7",
    has this in it, tried anew."""
    _prepared(work)
    _warm(work)
    kept = _kept(work / "trials.jsonl", seed) if not only else {}
    planned = [
        (case, name, number)
        for number in range(count)
        for case in cases(work)
        for name in SIGNALS
        if number < max(1, round(case.share * count)) and only in _called(case, name, number)
    ]
    planned.sort(key=lambda one: (one[2] + 0.5) / one[0].share)  # so that a part of the trials is a part of each row
    found, state = [], _state()
    for case, name, number in tqdm(planned, desc="kills", unit="trial"):
        called = _called(case, name, number)
        if called not in kept:
            seconds = _undisturbed(work, case)
            told = _trial(work, case, name, f"{seed} {called}", seconds)
            kept[called] = told | {"trial": called, "state": state}
            if not only:
                with (work / "trials.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"seed": seed, **kept[called]}) + "\n")
        found.append((case, name, kept[called]))
    return _record(found, count)


def _called(case: Case, name: str, number: int) -> str:
    return f"{case.name} {name} {number}"


def _record(found: list[tuple[Case, str, dict[str, Any]]], count: int) -> dict[str, Any]:
    rows: dict[str, Counter[str]] = {}
    for case, name, trial in found:
        row = rows.setdefault(case.name, Counter())
        row.update({f"{name} tried": 1, f"{name} held": int(not trial["failure"])})
    failures = [f"{trial['trial']}: {trial['failure']} ({trial['told']})" for _, _, trial in found if trial["failure"]]
    return {
        "section": "kills",
        "what": "Signals at random moments, the same command again; every file is compared with an undisturbed run's.",
        "tried": len(found),
        "held": sum(not trial["failure"] for _, _, trial in found),
        "failures": failures,
        "settings": {
            "of each signal and case": f"{count}; fewer of what is slow or not of the figure",
            "signals sent": sum(trial["struck"] for *_, trial in found),
            "trials by state of the code": _counted(trial.get("state", "not noted") for *_, trial in found),
            "left out of the comparison": _left_out(),
        },
        "rows": [
            {"case": case, **{name: f"{row[f'{name} held']} of {row[f'{name} tried']}" for name in SIGNALS}}
            for case, row in rows.items()
        ],
    }


def _state() -> str:
    """The commit that is tried, with a plus where files were changed since."""
    here = Path(__file__).parent
    said = [
        subprocess.run(["git", *words], cwd=here, capture_output=True, text=True).stdout.strip()
        for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    ]
    return f"{said[0] or 'no commit'}{'+' if said[1] else ''}"


def _counted(states: Iterable[str]) -> list[str]:
    return [f"{count} of {state}" for state, count in Counter(states).items()]


def _left_out() -> list[str]:
    from undisturbed import LATER, LOOPS, MAY_DIFFER

    keys = [f"{' and '.join(keys)} of {name} ({why})" for name, (keys, why) in MAY_DIFFER.items()]
    kept = f"{LATER}'s {' and '.join(LOOPS)} (Lightning's counters)"
    return [*keys, kept, f"all of {LATER} where a run that was told to stop keeps a later step's"]


def _kept(path: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The trials that an earlier call left, by name; half a line of one that was killed is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return {one["trial"]: one for one in found if one["seed"] == seed}


def _warm(work: Path) -> None:
    """Import what the runs of `prepare` needed, so that forks of this process start at once."""
    for name in (work / "modules").read_text(encoding="utf-8").split():
        with suppress(Exception):  # a plugin's, or one that has no name of its own
            importlib.import_module(name)
    if threading.active_count() > 1:
        raise SystemExit(f"threads that a fork would lose: {threading.enumerate()}")


def _prepared(work: Path) -> None:
    """Inputs, made once in a fork."""
    if (work / "modules").exists():
        return
    shutil.rmtree(work)
    work.mkdir()
    child = os.fork()
    if child == 0:
        try:
            prepare(work)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the inputs could not be made")


def _undisturbed(work: Path, case: Case) -> float:
    """Run a case to its end, once for all; how many seconds it takes."""
    whole, told = _whole(work, case), _whole(work, case) / "seconds"
    if not told.exists():
        shutil.rmtree(whole, ignore_errors=True)
        end = run_group(whole, case.words, case.processes, cold=case.cold)
        if any(end.codes):
            raise SystemExit(f"{case.name}: exit codes {end.codes} undisturbed, see {whole / 'log'}")
        told.write_text(f"{end.seconds}\n")
    return float(told.read_text())


def _whole(work: Path, case: Case) -> Path:
    return work / "whole" / case.name.replace(",", "").replace(" ", "-").replace("=", "-")


def _trial(work: Path, case: Case, name: str, seed: str, seconds: float) -> dict[str, Any]:
    """One trial: what was done, how often a signal came in time, and what did not hold."""
    rng, cut, told = random.Random(seed), work / "cut", list[str]()
    for draw in range(DRAWS):
        shutil.rmtree(cut, ignore_errors=True)
        end, moment = _signalled(case, cut, SIGNALS[name], rng, seconds * 0.7**draw)
        if end.struck and any(end.codes):
            break
    struck, failure, times = 0, "", rng.choice((1, 1, 2, 3))
    while not failure:
        told.append(f"{moment}: {list(end.codes)}")
        struck += end.struck
        if _was_whole(case, end, cut):
            break
        failure = _wrong_end(case, end, SIGNALS[name]) or _traceback(cut, name)
        if failure or not any(end.codes) or len(told) >= times:
            break
        end, moment = _signalled(case, cut, SIGNALS[name], rng, seconds)
    if not failure and any(end.codes):
        end = run_group(cut, case.words, case.processes, cold=case.cold)
        if any(end.codes) and not _was_whole(case, end, cut):
            failure = f"the same command ended with {end.codes}: {_last(cut)}"
    failure = failure or _differences(_whole(work, case), cut)
    if failure:
        shutil.copytree(cut, work / "failed" / seed.replace(" ", "-"), dirs_exist_ok=True)
    return {"struck": struck, "told": "; ".join(told), "failure": failure}


def _signalled(case: Case, cut: Path, number: int, rng: random.Random, seconds: float) -> tuple[End, Moment]:
    moment = Moment(rng.uniform(0, seconds))
    if case.files and rng.random() < 0.4:
        moment = Moment(rng.uniform(0, 0.004), rng.choice(case.files), rng.randint(1, 3))
    victim = rng.randrange(case.processes) if case.victims else None
    end = run_group(cut, case.words, case.processes, number, moment, victim, cold=case.cold)
    return end, moment


def _was_whole(case: Case, end: End, cut: Path) -> bool:
    """Whether the command found a whole result: the signal before came after its last file."""
    return end.codes == (2,) and bool(case.finished) and case.finished in _last(cut)


def _wrong_end(case: Case, end: End, number: int) -> str:
    """What of an end is not as promised."""
    if end.left:
        return f"left behind: {list(end.left)}"
    allowed = {0, -number, 128 + number}
    if case.processes > 1 or case.cold:
        allowed |= {LOST, 128 + signal.SIGTERM}  # the latter where they had not met yet, from who started them
    if not set(end.codes) <= allowed:
        return f"exit codes {list(end.codes)}"
    return ""


def _traceback(cut: Path, name: str) -> str:
    """Whether a stop that was asked for politely ended in one."""
    return "a traceback was printed" if name != "KILL" and "Traceback" in _said(cut) else ""


def _said(cut: Path) -> str:
    """What was printed; nothing where a fork was killed before it had a log."""
    log = cut / "log"
    return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""


def _last(cut: Path) -> str:
    lines = _said(cut).strip().splitlines()
    return lines[-1][:300] if lines else "nothing was said"


def _differences(whole: Path, cut: Path) -> str:
    from undisturbed import differences

    found = differences(whole, cut, but=("log", "seconds"))
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return "; ".join(found[:4]) + more
