"""Image and text towers of open_clip, from a hub name, a local file, or a configuration."""

from __future__ import annotations

from pairalign_openclip.image import OpenClipImage
from pairalign_openclip.text import OpenClipText

__all__ = ["OpenClipImage", "OpenClipText"]
