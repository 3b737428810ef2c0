"""A result folder in the format of lmms-eval, for tests that read one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Scores = dict[str, list[dict[str, Any]]]


def write_results(
    out: Path,
    model: str,
    tasks: Scores,
    reported: dict[str, dict[str, Any]] | None = None,
    date: str = "20260806_101500",
    **facts: Any,
) -> Path:
    """A result folder as lmms-eval leaves it: `tasks` holds the metric fields of every sample."""
    folder = out / "__".join(model.split("/")[-2:])
    folder.mkdir(parents=True, exist_ok=True)
    names = list(tasks)
    results = {
        "results": {name: {"alias": name, **(reported or {}).get(name, {}), "submission,none": []} for name in names},
        "group_subtasks": {name: [] for name in names},
        "configs": {name: {"task": name, "test_split": "test"} for name in names},
        "versions": dict.fromkeys(names, 0.0),
        "n-shot": dict.fromkeys(names, 0),
        "higher_is_better": {name: {} for name in names},
        "n-samples": {name: {"original": len(rows), "effective": len(rows)} for name, rows in tasks.items()},
        "config": {"model": "llava_hf", "model_args": f"pretrained={model}", "batch_size": "1", "limit": None},
        "task_hashes": dict.fromkeys(names, "0" * 64),
        "model_source": "llava_hf",
        "model_name": model,
        "model_name_sanitized": folder.name,
        **facts,
    }
    (folder / f"{date}_results.json").write_text(json.dumps(results, indent=2))
    for name, rows in tasks.items():
        lines = []
        for n, row in enumerate(rows):
            line = {
                "doc_id": n,
                "target": "A",
                "filtered_resps": ["A"],
                "token_counts": [None],
                "doc_hash": f"{n:064d}",
            }
            lines.append(json.dumps({**line, "input": f"question {n}", **row}) + "\n")
        (folder / f"{date}_samples_{name}.jsonl").write_text("".join(lines))
    return out


def plain(metric: str, values: list[float]) -> list[dict[str, Any]]:
    return [{metric: value} for value in values]


def ai2d(values: list[float]) -> Scores:
    return {"ai2d": plain("exact_match", values)}
