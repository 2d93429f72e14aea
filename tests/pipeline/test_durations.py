import pytest

from sartorius.pipeline.durations import parsed_duration_s, shown_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("9h", 32400),
        ("8h30m", 30600),
        ("45m", 2700),
        ("90s", 90),
        ("1h 2m 3s", 3723),
        ("1.5H", 5400),
        ("0.5s", 0.5),
    ],
)
def test_hours_minutes_and_seconds_add_up(text, seconds):
    assert parsed_duration_s(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (4.56, "4.6 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "2 h 00 min"),
        (11100, "3 h 05 min"),
    ],
)
def test_a_duration_is_said_in_the_unit_that_fits(seconds, text):
    assert shown_duration(seconds) == text
