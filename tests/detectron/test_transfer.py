import numpy as np
import pytest
import torch

from sartorius.config.members import ViewSettings
from sartorius.detectron.transfer import one_plane
from sartorius.views import forward


@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "rotate180"])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 6), (6, 1), (2, 3)])
def test_any_view_of_an_image_one_pixel_wide_or_high_becomes_a_plane(
    size_hw: tuple[int, int], flip: str
) -> None:
    image = np.arange(size_hw[0] * size_hw[1], dtype=np.uint8).reshape(size_hw)
    pixels = forward(image, ViewSettings(flip=flip))
    plane = one_plane(pixels)
    assert plane.shape == (1, *size_hw)
    assert plane.dtype == torch.uint8
    assert plane.tolist() == [pixels.tolist()]


def test_a_picture_in_order_is_not_copied() -> None:
    pixels = np.zeros((2, 3), dtype=np.uint8)
    assert np.shares_memory(one_plane(pixels).numpy(), pixels)
