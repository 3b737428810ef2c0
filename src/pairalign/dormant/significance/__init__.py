"""Significance: how much the base needs each weight. One file a score; see `scores` for what they have in common."""

from __future__ import annotations

from pairalign.dormant.significance import dowser, fisher, magnitude, mnaft, random, splash, wanda
from pairalign.dormant.significance.file import load_scores, save_scores
from pairalign.dormant.significance.moments import input_moments
from pairalign.dormant.significance.scores import Batch, Factored, ScoresOf, check_score, register_score, score_model

__all__ = [
    "Batch",
    "Factored",
    "ScoresOf",
    "check_score",
    "dowser",
    "fisher",
    "input_moments",
    "load_scores",
    "magnitude",
    "mnaft",
    "random",
    "register_score",
    "save_scores",
    "score_model",
    "splash",
    "wanda",
]
