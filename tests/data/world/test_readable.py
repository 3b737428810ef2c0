"""What a generic probe can read from each modality: the visible factors, and nothing of the hidden ones.

The probe knows nothing of the world: random filters pooled over all places, then ridge regression.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from pairalign.data.world import FACTORS, VISIBLE, World

TRAIN, TEST = 500, 250


@cache
def _features(name: str) -> tuple[np.ndarray, tuple[dict[str, str], ...]]:
    """Random features (TRAIN + TEST, D) of objects with independent factors, and the factors."""
    samples = [World(seed=1, image_size=32, touch_size=32).sample(i, modalities=(name,)) for i in range(TRAIN + TEST)]
    pooled = np.stack([_pool(np.asarray(s[name], np.float32), name) for s in samples])
    pooled = (pooled - pooled[:TRAIN].mean(0)) / (pooled[:TRAIN].std(0) + 1e-6)
    return pooled, tuple(s["factors"] for s in samples)


def _pool(value: np.ndarray, name: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if name == "points":
        rows = np.concatenate([value[:, :3] / 0.03, value[:, 3:]], 1)
    else:
        value = value / 255 - 0.5
        rows = np.lib.stride_tricks.sliding_window_view(value, (5, 5), (0, 1))[::2, ::2].reshape(-1, 75)
    filters = rng.normal(size=(rows.shape[1], 400)) / np.sqrt(rows.shape[1])
    active = np.maximum(rows @ filters.astype(np.float32) + rng.normal(0, 0.3, 400).astype(np.float32), 0)
    return np.concatenate([active.mean(0), active.max(0), active.std(0)])


def _accuracy(name: str, factor: str) -> float:
    """Held-out accuracy of ridge regression to one-hot values."""
    x, factors = _features(name)
    y = np.array([FACTORS[factor].index(f[factor]) for f in factors])
    kernel = x @ x[:TRAIN].T / x.shape[1]
    weights = np.linalg.solve(kernel[:TRAIN] + 0.02 * np.eye(TRAIN), np.eye(len(FACTORS[factor]))[y[:TRAIN]])
    return float(np.mean((kernel[TRAIN:] @ weights).argmax(1) == y[TRAIN:]))


@pytest.mark.parametrize("name", ["image", "touch", "points"])
def test_visible_factors_are_read_and_hidden_ones_are_not(name: str) -> None:
    for factor, values in FACTORS.items():
        chance, score = 1 / len(values), _accuracy(name, factor)
        interval = 3.3 * np.sqrt(chance * (1 - chance) / TEST)  # two-sided, one in a thousand
        if factor in VISIBLE[name]:
            assert score > chance + 0.4 * (1 - chance), f"{factor} from {name}: {score:.2f}"
        else:
            assert abs(score - chance) < interval, f"{factor} from {name}: {score:.2f}"
