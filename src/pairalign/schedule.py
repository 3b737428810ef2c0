"""Learning-rate schedules: linear warm-up, then a cosine down to 2 % of the rate.

Source of the cosine: SGDR, arXiv:1608.03983, one cycle.

Note:
    The cosine runs over all steps, warm-up included.
"""

from __future__ import annotations

import math

FLOOR = 0.02


def warmup_cosine(step: int, steps: int, warmup: int, wait: int = 0) -> float:
    """Factor on the learning rate at `step` of `steps`: 0 before `wait`, then up over `warmup` steps, then down."""
    if step < wait:
        return 0.0
    warm = min(1.0, (step - wait + 1) / max(1, warmup))
    done = min(1.0, step / max(1, steps))
    return warm * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))
