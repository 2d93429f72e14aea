"""Synthetic phase-contrast images of the three cell types with known truth."""

from sartorius.data.synthetic.dataset import synthesize
from sartorius.data.synthetic.image import synthetic_image

__all__ = ["synthesize", "synthetic_image"]
