"""Ways to teach a language model a sensor, dormant tuning and what it is compared with, behind one interface."""

from __future__ import annotations

from pairalign.finetune.methods import ewc, experts, full, lora, lwf, spider, wise_ft
from pairalign.finetune.methods.method import Method, create_method, method_names

__all__ = ["Method", "create_method", "ewc", "experts", "full", "lora", "lwf", "method_names", "spider", "wise_ft"]
