"""Look of the page: system fonts, so that nothing is fetched, and quiet colours in light and dark."""

import gradio as gr

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
_NUMBERS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def page_theme() -> gr.themes.Base:
    """Gradio's plain theme in slate and a blue that keeps its contrast on white and on black."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.sky,
        neutral_hue=gr.themes.colors.slate,
        font=_FONTS,
        font_mono=_NUMBERS,
        radius_size=gr.themes.sizes.radius_lg,
    ).set(
        body_background_fill="#f7f8fa",
        body_background_fill_dark="#101316",
        background_fill_primary_dark="#181c20",
        block_background_fill_dark="#181c20",
        block_border_color="#e3e7ec",
        block_border_color_dark="#2b3239",
        border_color_primary_dark="#2b3239",
        input_background_fill_dark="#22282e",
        input_border_color_dark="#2b3239",
        checkbox_background_color_dark="#22282e",
        button_secondary_background_fill_dark="#2b3239",
        button_secondary_background_fill_hover_dark="#363f48",
        table_border_color_dark="#2b3239",
        table_even_background_fill_dark="#181c20",
        table_odd_background_fill_dark="#1d2227",
        body_text_color_subdued="#55616e",
        body_text_color_subdued_dark="#a3adb8",
        block_info_text_color="#55616e",
        block_info_text_color_dark="#a3adb8",
        block_label_text_color="#3b4650",
        block_title_text_color="#3b4650",
        block_label_text_weight="500",
        block_shadow="none",
        button_primary_background_fill="#0369a1",
        button_primary_background_fill_hover="#075985",
        button_primary_background_fill_dark="#0369a1",
        button_primary_background_fill_hover_dark="#075985",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        color_accent="#0369a1",
        slider_color="#0369a1",
        slider_color_dark="#38bdf8",
    )
