"""BIDS: datasets as inputs, and the derivative dataset that their results form.

The parser is our own: pybids brings a database, pandas and seconds of indexing for what takes a few
lines here, and the `bids_validator` package only checks names.
"""

from mrcascade.io.bids.dataset import Dataset, find_dataset
from mrcascade.io.bids.derivative import check_bids_output, write_bids_root
from mrcascade.io.bids.metadata import inherited_metadata, kept_metadata, source_uri
from mrcascade.io.bids.selection import Selection, parse_selection

__all__ = [
    "Dataset",
    "Selection",
    "check_bids_output",
    "find_dataset",
    "inherited_metadata",
    "kept_metadata",
    "parse_selection",
    "source_uri",
    "write_bids_root",
]
