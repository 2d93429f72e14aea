import pytest

pytest.importorskip("gradio")

from sartorius.app.theme import page_theme

#: Of text of this size against what is behind it. Source: WCAG 2.2, 1.4.3.
LEAST_CONTRAST = 4.5


def luminance(colour: str) -> float:
    """How bright `#rrggbb` looks, of 0 to 1. Source: WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("mode", ["", "_dark"])
@pytest.mark.parametrize("state", ["", "_hover"])
def test_the_main_buttons_words_stand_out_from_it(mode, state):
    theme = page_theme()
    fill = getattr(theme, f"button_primary_background_fill{state}{mode}")
    text = getattr(theme, f"button_primary_text_color{mode}")
    darker, brighter = sorted([luminance(fill), luminance(text)])
    assert (brighter + 0.05) / (darker + 0.05) >= LEAST_CONTRAST
