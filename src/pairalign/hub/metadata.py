"""What the Hub reads at the head of a card: library, base, tags, licence, and figures as a model index.

Note:
    A figure there has neither its interval nor its chance level; both stand in the card below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pairalign.export.manifest import Manifest

LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "mpl-2.0", "cc0-1.0", "unlicense"),
    *("cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail"),
)
SYNTHETIC = "synthetic data"


def head(name: str, tags: Sequence[str], licences: Iterable[str], found: Sequence[Any], **more: Any) -> str:
    """The lines between `---` that open a README.md of the Hub.

    found: `huggingface_hub.EvalResult`s. more: other entries, such as base_model. A licence that the Hub has no name
    for, or several, is "other": the card says which.
    """
    from huggingface_hub import ModelCardData

    named = {one.lower() for one in licences}
    licence = next(iter(named)) if len(named) == 1 and named <= set(LICENCES) else "other"
    told: dict[str, Any] = {"library_name": "pairalign", "license": licence, "tags": ["pairalign", *tags], **more}
    if found:
        told |= {"model_name": name, "eval_results": list(found)}
    return f"---\n{ModelCardData(**told).to_yaml()}\n---\n"


def pack_head(manifest: Manifest, results: Mapping[str, Any], name: str) -> str:
    """The head of a sensor pack's card."""
    more: dict[str, Any] = {"pipeline_tag": "image-text-to-text"}
    if manifest.base.get("source") == "hub":
        more |= {
            "base_model": manifest.base["name"],
            "base_model_relation": "finetune" if manifest.whole else "adapter",
        }
    tags = ["sensor-pack", *manifest.sensors, manifest.method]
    return head(name, tags, manifest.licences.values(), list(_answers(results)), **more)


def run_head(metrics: Mapping[str, Any], modalities: Sequence[str], licences: Iterable[str], name: str) -> str:
    """The head of an aligned run's card."""
    tags = ["aligned-sensors", *modalities, *[SYNTHETIC.replace(" ", "-")] * bool(metrics.get("synthetic"))]
    return head(name, tags, licences, list(_retrieved(metrics)), pipeline_tag="feature-extraction")


def _answers(results: Mapping[str, Any]) -> Iterator[Any]:
    """Exact answers of every task after training; no figure of what was not asked."""
    from huggingface_hub import EvalResult

    for part, what in (("validation", "questions about the sensor"), ("held_out", "what was not trained")):
        for task, score in results.get("after", {}).get(part, {}).items():
            yield EvalResult(
                task_type="visual-question-answering",
                task_name=what,
                dataset_type=task,
                dataset_name=task,
                metric_type="exact_match",
                metric_name="exact answers",
                metric_value=round(float(score["accuracy"]), 4),
            )


def _retrieved(metrics: Mapping[str, Any]) -> Iterator[Any]:
    """Recall at 1 of every pair of modalities in both directions, by pool."""
    from huggingface_hub import EvalResult

    for pool, record in metrics.get("pools", {}).items():
        for pair in record["pairs"].values():
            ends = [pair["path"][0], pair["path"][-1]]
            for way, (a, b) in (("forward", ends), ("backward", ends[::-1])):
                recall = pair.get("retrieval", {}).get(way, {}).get("R@1")
                if recall is not None:
                    yield EvalResult(
                        task_type="retrieval",
                        dataset_type=pool,
                        dataset_name=pool,
                        metric_type="recall_at_1",
                        metric_name=f"{a} to {b}, {pair['status']} pairs: R@1 (chance {recall['chance']:.4f})",
                        metric_value=round(float(recall["value"]), 4),
                    )
