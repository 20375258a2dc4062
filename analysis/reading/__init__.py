"""Reading the files of others, safely: tensors and plain values come out of them, and no code of theirs ever runs."""

from analysis.reading.files import Stored, read_file

__all__ = ["Stored", "read_file"]
