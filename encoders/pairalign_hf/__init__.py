"""Text and vision backbones of Hugging Face transformers: any AutoModel, from a hub name or a local folder."""

from __future__ import annotations

from pairalign_hf.text import HFText
from pairalign_hf.vision import HFVision

__all__ = ["HFText", "HFVision"]
