"""Durations as people write them: `9h`, `8h30m`, `90s`."""

import re

from sartorius.errors import UserError

_WRITTEN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def parsed_duration_s(text: str) -> float:
    """The seconds of a text like `9h`, `8h30m`, `45m` or `90s`; raises UserError if it is none, or nothing at all."""
    parts = _WRITTEN.fullmatch(text.strip().lower().replace(" ", ""))
    hours, minutes, seconds = (float(part or 0) for part in parts.groups()) if parts else (0.0, 0.0, 0.0)
    total_s = hours * 3600 + minutes * 60 + seconds
    if total_s <= 0:
        raise UserError(f"--budget: expected a duration such as 9h, 8h30m, 45m or 90s, got {text!r}")
    return total_s


def shown_duration(seconds: float) -> str:
    """Seconds as a person says them: `4.5 s`, `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
