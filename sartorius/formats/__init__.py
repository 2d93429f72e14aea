"""Cells of many images read from the files of other programs and written for them; docs/formats.md says what each keeps."""

from sartorius.formats.conversion import Converted, convert
from sartorius.formats.detection import FormatName, as_format_name, detect_format
from sartorius.formats.differences import differences
from sartorius.formats.known import Images, Known
from sartorius.formats.reading import read_any
from sartorius.formats.writing import TARGETS, write_any

__all__ = [
    "TARGETS",
    "Converted",
    "FormatName",
    "Images",
    "Known",
    "as_format_name",
    "convert",
    "detect_format",
    "differences",
    "read_any",
    "write_any",
]
