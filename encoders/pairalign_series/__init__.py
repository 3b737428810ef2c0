"""One-dimensional recordings: IMU, force, audio, arrays of taxels."""

from __future__ import annotations

from pairalign_series.series import Series

__all__ = ["Series"]
