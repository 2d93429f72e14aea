"""The README's picture of the page: `python tools/page_screenshot.py docs/images/app.png`.

Images are synthetic, the model is the small one that ships. Needs Chromium (`apt install chromium`) and playwright.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from sartorius.data.synthetic import synthesize

SIZE = {"width": 1240, "height": 1180}
LONGEST_MS = 600_000


def main(out: Path) -> None:
    """Serve the page, search synthetic images in it, choose a cell and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        made = synthesize(Path(folder) / "data", images_per_type=1, seed=1)
        images = sorted((made / "train").glob("*.png"), reverse=True)  # the crowded one first
        raw = Path(folder) / "app.png"
        with _served() as url, sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"))
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(LONGEST_MS)
            page.goto(url)
            _search(page, images)
            page.screenshot(path=raw)
            browser.close()
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.open(raw).convert("RGB").save(out, optimize=True)
    sys.stdout.write(f"{out}: {out.stat().st_size // 1000} kB\n")


def _search(page: Page, images: list[Path]) -> None:
    page.wait_for_selector(".viewer[data-state=empty]")
    page.set_input_files("#drop input[type=file]", images)
    page.click("#find:not([disabled])")
    page.wait_for_selector(f"#images label:nth-of-type({len(images)}):has-text('✓')")
    page.wait_for_selector("#stop", state="hidden")
    page.fill("#um textarea", "1.24")
    page.wait_for_selector("#table:has-text('µm')")
    page.focus(".viewer-stage")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".viewer-facts:has-text('µm')")
    page.evaluate("window.scrollTo(0, 0)")


@contextmanager
def _served() -> Iterator[str]:
    """The address of `sartorius app`, which ends with the block."""
    command = [sys.executable, "-c", "from sartorius.cli import main; main()", "app", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2]
        finally:
            process.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the picture to write, .png")
    main(parser.parse_args().out)
