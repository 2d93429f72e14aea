"""From phase shift to a phase-contrast picture: dark where the sample is thick, with a bright halo around it."""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

MEAN_GREY = 128.0
#: Standard deviations in px of the objective's blur and of the phase ring's, whose difference makes the narrow halo.
SHARP_PX, HALO_PX = 0.55, 1.5
#: Standard deviation in px of the wide halo, which leaves the inside of a body a little darker than its surroundings.
WIDE_HALO_PX = 9.0
#: Grey levels for a phase shift of 1, for the narrow and the wide halo, fitted to the mean grey on both sides of the
#: competition's outlines.
GREY_PER_PHASE, WIDE_GREY_PER_PHASE = 135.0, 9.0


def smooth_noise(size_hw: tuple[int, int], grain_px: float, rng: np.random.Generator) -> Field:
    """A random field of mean 0 and standard deviation about 1 whose bumps are `grain_px` wide."""
    step = max(1, round(grain_px / 3))
    coarse = rng.standard_normal([-(-side // step) + 1 for side in size_hw], dtype=np.float32)
    field = cv2.GaussianBlur(coarse, (0, 0), grain_px / step, borderType=cv2.BORDER_REFLECT_101)
    field = cv2.resize(field, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), dtype=np.float32)


def photograph(phase: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The (H, W) uint8 picture of a phase-shift map as a phase-contrast microscope shows it.

    Contrast varies over the field (focus) and from picture to picture; light is uneven; camera noise and faint
    interference stripes are added.
    """
    size_hw = (phase.shape[0], phase.shape[1])
    sharpness = rng.uniform(0.9, 1.15)
    sharp = cv2.GaussianBlur(phase, (0, 0), SHARP_PX * sharpness)
    halo = cv2.GaussianBlur(phase, (0, 0), HALO_PX * sharpness)
    wide = cv2.GaussianBlur(phase, (0, 0), WIDE_HALO_PX)
    contrast = np.clip(1 + 0.14 * smooth_noise(size_hw, 120, rng), 0.5, 1.3) * np.exp(rng.normal(0, 0.1))
    grey = MEAN_GREY - contrast * (GREY_PER_PHASE * (sharp - halo) + WIDE_GREY_PER_PHASE * (sharp - wide))
    grey += _background(size_hw, rng)
    return np.asarray(np.clip(np.rint(grey), 0, 255), dtype=np.uint8)


def _background(size_hw: tuple[int, int], rng: np.random.Generator) -> Field:
    """Uneven light of about one grey level, stripes of up to one, camera noise of about one."""
    rows, cols = np.indices(size_hw, dtype=np.float32)
    angle, period_px = rng.uniform(0, np.pi), rng.uniform(3.5, 6)
    across = cols * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))
    stripes = np.sin(across * np.float32(2 * np.pi / period_px) + 2 * smooth_noise(size_hw, 40, rng))
    stripes *= rng.uniform(0, 0.5) * np.clip(1 + smooth_noise(size_hw, 50, rng), 0, 2)
    noise = cv2.GaussianBlur(rng.standard_normal(size_hw, dtype=np.float32), (0, 0), 0.5)
    light = rng.uniform(0.5, 1.5) * smooth_noise(size_hw, 160, rng)
    return np.asarray(light + stripes + rng.uniform(1.3, 2.3) * noise, dtype=np.float32)
