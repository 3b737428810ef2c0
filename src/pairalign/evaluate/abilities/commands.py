"""The command lines that measure a base, and its merged checkpoint or a run, equal in all but the model.

Note:
    Lmms-eval splits the model's arguments at commas, and names its result folder by the last two parts of the model's
    path; so each side gets an output folder of its own.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pairalign.core.errors import ConfigError, did_you_mean
from pairalign.evaluate.abilities.suites import ABILITIES, PAPERS


def chosen_tasks(names: Sequence[str] = ()) -> list[str]:
    """lmms-eval tasks of some papers ("2510.08564", "splash") or tasks; all of them by default."""
    tasks: list[str] = []
    for name in names or PAPERS:
        if name not in PAPERS and name not in ABILITIES:
            raise ConfigError(f"tasks={name!r} is unknown.{did_you_mean(name, [*PAPERS, *ABILITIES])}")
        tasks += [ability.task for ability in PAPERS[name]] if name in PAPERS else [name]
    return list(dict.fromkeys(tasks))


def command_lines(
    base: str,
    merged: str,
    family: str,
    out: str | Path,
    *,
    tasks: Sequence[str] = (),
    batch_size: int = 1,
    limit: int | None = None,
    arguments: str = "",
) -> list[str]:
    """Two lines for a shell: the base into `out/base`, the merged checkpoint into `out/merged`.

    merged: or the folder of a finished run of any method. Both sides are then asked by the model `pairalign` of
    `pairalign.export.lmms`, and the run's results go to `out/run`. family: lmms-eval's name of the model's class, such
    as "llava_hf" or "qwen2_5_vl". arguments: further model arguments for both, such as "device_map=cuda:0".
    """
    if base == merged:
        raise ConfigError(
            f"base={base!r} and merged are the same: give the checkpoint that `pairalign export --merge` wrote, or a "
            "run's folder."
        )
    run = is_run(merged)
    sides = (("base", base), ("run" if run else "merged", merged))
    told = {name: (f"model={model},family={family}" if run else f"pretrained={model}") for name, model in sides}
    if commas := [(name, model) for name, model in sides if "," in model]:
        name, model = commas[0]
        raise ConfigError(f"{name}={model!r}: lmms-eval splits model arguments at commas; give a path without one.")
    return [
        _line("pairalign" if run else family, ",".join(filter(None, [told[name], arguments])), Path(out) / name,
              chosen_tasks(tasks), batch_size, limit)
        for name, _ in sides
    ]  # fmt: skip


def is_run(folder: str | Path) -> bool:
    """Whether a folder is that of a finished run of stage two; raise `ConfigError` for any other run."""
    place = Path(folder)
    if (place / "config.yaml").is_file() and not (place / "results.json").is_file():
        raise ConfigError(f"{str(folder)!r} is no finished run of stage two: let the same `pairalign recompose` go on.")
    return (place / "config.yaml").is_file()


def _line(model: str, told: str, out: Path, tasks: list[str], batch_size: int, limit: int | None) -> str:
    words = ["python", "-m", "lmms_eval", "--model", model, "--model_args", told]
    words += ["--tasks", ",".join(tasks), "--batch_size", str(batch_size), "--log_samples"]
    words += ["--output_path", str(out)] + (["--limit", str(limit)] if limit is not None else [])
    return shlex.join(words)
