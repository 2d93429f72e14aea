"""What each cell type looks like in phase contrast: counts, sizes, outlines, neurites and debris.

Counts and areas follow the competition's training set (mean cells per image 337, 80 and 34; mean area 224, 906 and
240 px); the rest was matched by eye against its images.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Body:
    """One kind of cell body of a cell type; (low, high) pairs are drawn from evenly.

    share: how often this kind occurs among the type's cells.
    area_px, area_log_sd: median and spread of the log-normal area of the mask.
    aspect: long over short axis of the body without its corners.
    corners, reach: how many points the outline is drawn out to, and how far, in body radii.
    taper_rad: angular width of the corners; narrow ones become arms.
    pointed: exponent of the superellipse the body is, 2 for an ellipse, lower for a lens or a rhombus.
    arm_px: length of the arms at the corners, which belong to the cell; (0, 0) for none.
    bend: sideways sag of the long axis, in body radii.
    thickness: phase shift of the body; contrast grows with it.
    grain: strength of the texture inside.
    nucleus_px: radius of the nucleus, 0 for none to be seen.
    neurites, neurite_px: how many threads leave the cell, and their lengths.
    """

    share: float
    area_px: float
    area_log_sd: float
    aspect: tuple[float, float]
    corners: tuple[int, int]
    reach: tuple[float, float]
    taper_rad: tuple[float, float] = (0.14, 0.4)
    pointed: tuple[float, float] = (1.5, 2.0)
    arm_px: tuple[float, float] = (0.0, 0.0)
    bend: float
    thickness: tuple[float, float]
    grain: float
    nucleus_px: float = 0.0
    neurites: tuple[int, int] = (0, 0)
    neurite_px: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Look:
    """One cell type.

    cells, cells_shape: mean and shape of the gamma distribution of cells per 520 x 704 px image.
    crowding: how unevenly the cells are spread, 0 for evenly.
    neurite_thickness: phase shift of a thread.
    wiggle_rad: how much a neurite changes direction every 4 px.
    loose_threads: mean number of neurites per image whose cells lie elsewhere.
    growth_log_sd: how much the number of neurites per cell varies from image to image.
    dots: mean number of dead cells and crumbs per image.
    clumped: share of the dots that lie in heaps on the cells.
    dot_shares: shares of dots with a radius of 0.7, 1.2, 1.9 and 2.6 px; the two larger are dead cells.
    """

    cells: float
    cells_shape: float
    crowding: float
    bodies: tuple[Body, ...]
    neurite_thickness: tuple[float, float]
    wiggle_rad: tuple[float, float]
    loose_threads: float
    growth_log_sd: float
    dots: float
    clumped: float
    dot_shares: tuple[float, float, float, float]


LOOKS: dict[str, Look] = {
    "shsy5y": Look(
        cells=337,
        cells_shape=5,
        crowding=1.6,
        bodies=(
            Body(
                share=0.55, area_px=150, area_log_sd=0.6, aspect=(1.8, 4.0), corners=(2, 3), reach=(0.4, 1.1),
                pointed=(1.2, 1.8), bend=0.3, thickness=(0.45, 0.95), grain=0.09, neurites=(1, 3),
                neurite_px=(10, 110),
            ),
            Body(
                share=0.45, area_px=155, area_log_sd=0.6, aspect=(1.0, 1.9), corners=(2, 5), reach=(0.4, 1.1),
                pointed=(1.4, 2.0), bend=0.2, thickness=(0.35, 0.85), grain=0.1, neurites=(1, 4),
                neurite_px=(8, 70),
            ),
        ),
        neurite_thickness=(0.2, 0.55),
        wiggle_rad=(0.04, 0.2),
        loose_threads=25,
        growth_log_sd=0.2,
        dots=200,
        clumped=0.9,
        dot_shares=(0.1, 0.15, 0.5, 0.25),
    ),
    "astro": Look(
        cells=80,
        cells_shape=4,
        crowding=2.2,
        bodies=(
            Body(
                share=0.45, area_px=330, area_log_sd=0.4, aspect=(1.8, 4.5), corners=(2, 3), reach=(0.4, 1.2),
                pointed=(1.2, 1.8), arm_px=(15, 75), bend=0.3, thickness=(0.6, 1.3), grain=0.16, nucleus_px=4,
                neurites=(0, 1), neurite_px=(10, 60),
            ),
            Body(
                share=0.15, area_px=500, area_log_sd=0.5, aspect=(2.0, 6.0), corners=(2, 3), reach=(0.5, 1.5),
                taper_rad=(0.1, 0.25), pointed=(1.1, 1.7), bend=0.5, thickness=(0.4, 1.0), grain=0.14,
                nucleus_px=4, neurites=(0, 2), neurite_px=(10, 60),
            ),
            Body(
                share=0.12, area_px=260, area_log_sd=0.4, aspect=(1.0, 2.0), corners=(3, 5), reach=(0.4, 1.2),
                pointed=(1.4, 2.0), arm_px=(10, 50), bend=0.3, thickness=(0.5, 1.1), grain=0.16, nucleus_px=4,
                neurites=(0, 2), neurite_px=(10, 60),
            ),
            Body(
                share=0.28, area_px=1700, area_log_sd=0.5, aspect=(1.3, 4.0), corners=(2, 5), reach=(0.4, 1.5),
                pointed=(1.1, 1.8), bend=0.4, thickness=(0.12, 0.35), grain=0.05, nucleus_px=7,
            ),
        ),
        neurite_thickness=(0.15, 0.5),
        wiggle_rad=(0.05, 0.25),
        loose_threads=8,
        growth_log_sd=0.3,
        dots=110,
        clumped=0.5,
        dot_shares=(0.45, 0.15, 0.25, 0.15),
    ),
    "cort": Look(
        cells=34,
        cells_shape=6,
        crowding=1.0,
        bodies=(
            Body(
                share=0.75, area_px=185, area_log_sd=0.35, aspect=(1.0, 1.6), corners=(1, 4), reach=(0.05, 0.6),
                bend=0.1, thickness=(0.8, 1.7), grain=0.2, neurites=(3, 16), neurite_px=(12, 300),
            ),
            Body(
                share=0.25, area_px=230, area_log_sd=0.35, aspect=(1.4, 2.4), corners=(2, 4), reach=(0.1, 0.6),
                pointed=(1.2, 1.8), bend=0.1, thickness=(0.7, 1.6), grain=0.2, neurites=(4, 20),
                neurite_px=(15, 350),
            ),
        ),
        neurite_thickness=(0.1, 0.42),
        wiggle_rad=(0.03, 0.13),
        loose_threads=50,
        growth_log_sd=0.5,
        dots=230,
        clumped=0.15,
        dot_shares=(0.4, 0.15, 0.35, 0.1),
    ),
}  # fmt: skip
