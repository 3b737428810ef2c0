"""From a data set's folder, as its authors publish it, to pair shards: one file a format, which `convert_data` runs."""

from pairalign.data.convert.dataset_format import (
    DatasetFormat,
    Listing,
    Skip,
    find_format,
    known_formats,
    register_format,
)
from pairalign.data.convert.dataset_format import Layout as Layout
from pairalign.data.convert.dataset_format import find_layout as find_layout
from pairalign.data.convert.dataset_format import known_layouts as known_layouts
from pairalign.data.convert.dataset_format import register_layout as register_layout
from pairalign.data.convert.run import Conversion, convert_data

__all__ = [
    "Conversion",
    "DatasetFormat",
    "Listing",
    "Skip",
    "convert_data",
    "find_format",
    "known_formats",
    "register_format",
]
