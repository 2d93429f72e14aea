"""The rows of a CSV file with the line each begins on, and what is wrong with those that cannot be read."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sartorius.errors import UserError

#: How the first bytes of files begin that are mistaken for text, and what those files are.
_OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"\x1f\x8b": "compressed with gzip; unpack it",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet; unpack it or save it as CSV",
}


class Problem(NamedTuple):
    """One thing that is wrong with a file; line: counted from 1, None if it is about the whole file."""

    line: int | None
    message: str

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class Row(NamedTuple):
    """One row of a CSV file; line: the line it begins on, counted from 1."""

    line: int
    fields: tuple[str, ...]


class CsvRows(NamedTuple):
    """The rows of a file by line, and what is wrong with others; readable: whether it is text with the header."""

    readable: bool
    rows: list[Row]
    problems: list[Problem]


def read_rows(path: Path, columns: Sequence[str]) -> CsvRows:
    """The rows under a header of exactly these columns, and a problem for each row that is not one.

    Fields may be quoted, lines may end as on any system, a byte-order mark and blank lines are passed over. A file
    that is no UTF-8 text or has another header is not readable: no rows and one problem.
    Raises UserError if there is no such file or it cannot be opened.
    """
    data = _file_bytes(path)
    fault = _empty_fault(data, columns) or text_fault(data)
    if fault:
        return CsvRows(False, [], [fault])
    with _fields_up_to(len(data)):
        return _rows(data.decode("utf-8-sig"), columns)


def read_table(path: Path, columns: Sequence[str]) -> tuple[tuple[str, ...], list[Row]]:
    """The header and the rows under it, of however many fields each.

    columns: what a header may hold, for the message about an empty file.
    Raises UserError naming the line if there is no such file, it is no UTF-8 text, or the quotes of a row do not close.
    """
    data = _file_bytes(path)
    fault = _empty_fault(data, columns) or text_fault(data)
    if fault:
        raise UserError(f"{path}, {fault}")
    rows: list[Row] = []
    with _fields_up_to(len(data)):
        for record in _records(data.decode("utf-8-sig")):
            if isinstance(record, Problem):
                raise UserError(f"{path}, {record}")
            rows.append(record)
    return rows[0].fields, rows[1:]


def text_fault(data: bytes) -> Problem | None:
    """Why the bytes cannot be read as text, with the line; None if they can."""
    for start, what in _OTHER_FORMATS.items():
        if data.startswith(start):
            return Problem(1, f"expected UTF-8 text, but the file is {what}")
    if b"\0" in data:
        return Problem(_line_at(data, data.index(b"\0")), "expected UTF-8 text, but this is a binary file")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x}"
        return Problem(
            _line_at(data, error.start), f"expected UTF-8 text, got {byte}; save the file as UTF-8"
        )
    return None


def shortened(text: str) -> str:
    """The text in quotes for a message, cut after 40 characters."""
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}…"


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a CSV file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: expected a CSV file, got a folder") from None
    except OSError as error:
        raise UserError(f"{path}: expected a CSV file, but it cannot be read: {error.strerror}") from None


def _empty_fault(data: bytes, columns: Sequence[str]) -> Problem | None:
    if data.removeprefix(b"\xef\xbb\xbf").strip():
        return None
    return Problem(1, f"the file is empty; expected the header `{','.join(columns)}` and rows")


def _line_at(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


@contextmanager
def _fields_up_to(characters: int) -> Iterator[None]:
    """Let fields be as long as the file; Python stops at 131,072 characters otherwise."""
    before = csv.field_size_limit(max(characters, csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _rows(text: str, columns: Sequence[str]) -> CsvRows:
    records = _records(text)
    header = next(records)
    expected = ",".join(columns)
    if not isinstance(header, Row) or header.fields != tuple(columns):
        came = shortened(",".join(header.fields)) if isinstance(header, Row) else header.message
        return CsvRows(False, [], [Problem(header.line, f"expected the header `{expected}`, got {came}")])
    found: list[Row] = []
    problems: list[Problem] = []
    for row in records:
        if isinstance(row, Problem):
            problems.append(row)
        elif len(row.fields) == len(columns):
            found.append(row)
        else:
            message = f"expected {len(columns)} fields `{expected}`, got {len(row.fields)}"
            problems.append(Problem(row.line, message))
    return CsvRows(True, found, problems)


def _records(text: str) -> Iterator[Row | Problem]:
    """Each row that is not blank; a row whose quotes do not close is a problem and the reading goes on after it."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Problem(line, f"the quotes of this row do not close where a field ends ({error})")
        else:
            if fields:
                yield Row(line, tuple(fields))
