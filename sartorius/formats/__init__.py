"""Cells of many images read from the files of other programs and written for them."""

from sartorius.formats.reading import FormatName, Images, detect_format, read_any

__all__ = ["FormatName", "Images", "detect_format", "read_any"]
