"""JSON files read and written, with one message about what is wrong with them."""

import json
from pathlib import Path
from typing import Any

from sartorius.errors import UserError
from sartorius.files import atomic_path


def read_json(path: Path) -> Any:
    """The value in a JSON file; raises UserError if it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: expected a JSON file, got a folder") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}: expected a JSON file: {error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
