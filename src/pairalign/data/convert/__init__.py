"""From a data set's folder, as its authors publish it, to pair shards. One file a layout; `convert_data` runs one."""

from pairalign.data.convert.layout import Layout, Listing, Skip, find_layout, known_layouts, register_layout
from pairalign.data.convert.run import Conversion, convert_data

__all__ = [
    "Conversion",
    "Layout",
    "Listing",
    "Skip",
    "convert_data",
    "find_layout",
    "known_layouts",
    "register_layout",
]
