import cv2
import numpy as np
import pytest


@pytest.fixture
def images(tmp_path):
    """Two images of 4 x 5 px."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "7"):
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((4, 5), np.uint8))
    return {name: folder / f"{name}.png" for name in ("a", "7")}
