"""The held-out sets of the selective-tuning papers by their lmms-eval task, and how a logged sample counts there.

Source: arXiv:2510.08564 (ai2d … mmstar), Splash (MMMU … MMBench-CN); the fields are those that the tasks' own code in
EvolvingLMMs-Lab/lmms-eval logs with --log_samples.

Note:
    MMMU, SEED-Bench and MMBench log an answer and not whether it is right, so it is counted here; MMBench's own count
    lets GPT find the option in a free answer, ours takes the letter that an answer begins with. Reported and counted
    scores are both given, see `compare`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Counted(NamedTuple):
    """What one logged sample says: `unit` (samples of one unit count together), its stratum, and 0 to 1."""

    unit: str
    stratum: str
    value: float


Record = Mapping[str, Any]
Count = Callable[[Record], Counted]


def mean(values: list[float]) -> float:
    """Of a unit's samples."""
    return sum(values) / len(values)


def mme_unit(values: list[float]) -> float:
    """An image's two questions: half the share of right ones, half whether both are."""
    return (mean(values) + min(values)) / 2


@dataclass(frozen=True)
class Ability:
    """One task of lmms-eval.

    metrics: logged fields that hold a sample's score, and reported ones, which are added. full: what the reported sum
    is at most. count: a logged sample → `Counted`. join: values of a unit's samples → its value. strata: whether the
    score is the mean over strata of their means. needs: what the task needs beside the model.
    """

    task: str
    title: str
    metrics: tuple[str, ...]
    count: Count
    full: float = 1.0
    join: Callable[[list[float]], float] = mean
    strata: bool = False
    needs: str = ""


def _plain(metric: str) -> Count:
    return lambda record: Counted(str(record["doc_id"]), "", float(record[metric]))


def _mmmu(record: Record) -> Counted:
    field = record["mmmu_acc"]
    choice = field["question_type"] == "multiple-choice"
    right = any((_chosen if choice else _contained)(said, field["answer"]) for said in field["parsed_pred"])
    return Counted(str(record["doc_id"]), "", float(right))


def _chosen(said: str, answer: Any) -> bool:
    return said in answer if isinstance(answer, list) else said == answer


def _contained(said: str, answer: Any) -> bool:
    """As lmms-eval counts open questions: a number as answer never matches, since what it logs are strings."""
    golds = [str(gold).strip().lower() for gold in (answer if isinstance(answer, list) else [answer])]
    golds = [gold for gold in golds if not _is_number(gold)]
    return any(form in said for gold in golds for form in ((f" {gold}", f"{gold} ") if len(gold) == 1 else (gold,)))


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


def _seed(record: Record) -> Counted:
    field = record["seed_all"]
    return Counted(str(record["doc_id"]), "", float(_same(field["pred"], field["answer"])))


def _same(a: str, b: str) -> bool:
    return a.strip().lower() == b.strip().lower()


def _mmstar(record: Record) -> Counted:
    field = record["average"]
    return Counted(str(record["doc_id"]), str(field["l2_category"]), float(field["score"]))


def _mme(record: Record) -> Counted:
    field = next(record[name] for name in ("mme_perception_score", "mme_cognition_score") if name in record)
    return Counted(f"{field['category']}/{field['question_id']}", str(field["category"]), float(field["score"]))


def _mathvista(record: Record) -> Counted:
    return Counted(str(record["doc_id"]), "", float(bool(record["llm_as_judge_eval"]["true_false"])))


def _mmbench(record: Record) -> Counted:
    field = record["gpt_eval_score"]
    said = re.match(r"[\W_]*([A-E])(?![A-Za-z])", str(field["prediction"]))
    right = said is not None and said[1] == field["answer"]
    return Counted(str(int(field["index"]) % 1_000_000), "", float(right))  # orders of the options share an index


GPT = "an OpenAI key in its environment: lmms-eval reads answers with GPT"
PAPERS = {
    "2510.08564": (
        Ability("ai2d", "AI2D", ("exact_match",), _plain("exact_match")),
        Ability("chartqa", "ChartQA", ("relaxed_overall",), _plain("relaxed_overall")),
        Ability("docvqa_val", "DocVQA", ("anls",), _plain("anls")),
        Ability("infovqa_val", "InfographicVQA", ("anls",), _plain("anls")),
        Ability("realworldqa", "RealWorldQA", ("exact_match",), _plain("exact_match")),
        Ability("seedbench", "SEED-Bench", ("seed_all",), _seed),
        Ability("scienceqa_img", "ScienceQA-IMG", ("exact_match",), _plain("exact_match")),
        Ability("mmstar", "MMStar", ("average",), _mmstar, strata=True),
    ),
    "splash": (
        Ability("mmmu_val", "MMMU", ("mmmu_acc",), _mmmu),
        Ability("mathvista_testmini_format", "MathVista", ("llm_as_judge_eval",), _mathvista, 100.0, needs=GPT),
        Ability(
            "mme", "MME", ("mme_perception_score", "mme_cognition_score"), _mme, 2800.0, join=mme_unit, strata=True
        ),
        Ability("mmbench_en_dev", "MMBench-EN", ("gpt_eval_score",), _mmbench, 100.0, join=min, needs=GPT),
        Ability("mmbench_cn_dev", "MMBench-CN", ("gpt_eval_score",), _mmbench, 100.0, join=min, needs=GPT),
    ),
}
ABILITIES = {ability.task: ability for abilities in PAPERS.values() for ability in abilities}
