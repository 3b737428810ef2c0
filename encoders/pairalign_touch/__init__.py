"""Touch as pictures: any image-like gel sensor, by a small CNN or a vision transformer."""

from __future__ import annotations

from pairalign_touch.cnn import TouchCNN
from pairalign_touch.vit import TouchViT

__all__ = ["TouchCNN", "TouchViT"]
