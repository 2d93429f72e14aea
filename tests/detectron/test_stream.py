from itertools import islice

import numpy as np
import pytest

from sartorius.detectron.stream import Division, PartSampler, Place, drawn_images, picture_seed
from sartorius.errors import UserError

ONCE = np.ones(5, dtype=np.float32)


def steps(division: Division, count: int, first_step: int = 0) -> list[list[Place]]:
    return list(islice(PartSampler(ONCE, 3, division, first_step), count))


def test_every_image_comes_once_in_each_epoch() -> None:
    drawn = list(islice(drawn_images(ONCE, seed=1), 15))
    assert all(sorted(drawn[epoch : epoch + 5]) == [0, 1, 2, 3, 4] for epoch in (0, 5, 10))
    assert drawn[:5] != drawn[5:10]


def test_an_image_with_one_and_a_half_repeats_comes_three_times_in_two_epochs() -> None:
    drawn = np.array(list(islice(drawn_images(np.array([1, 1.5], dtype=np.float32), seed=0), 5000)))
    assert (drawn == 1).mean() == pytest.approx(0.6, abs=0.02)


def test_a_resumed_run_goes_on_with_the_pictures_that_would_have_come() -> None:
    assert steps(Division(2), 6)[4:] == steps(Division(2), 2, first_step=4)


def test_processes_and_parts_divide_the_pictures_of_a_step_between_them() -> None:
    (whole,) = steps(Division(8), 1)
    parts = [steps(Division(8, parts=2, processes=2, rank=rank), 2) for rank in (0, 1)]
    assert [parts[rank][part] for part in (0, 1) for rank in (0, 1)] == [
        whole[start : start + 2] for start in (0, 2, 4, 6)
    ]


def test_seeds_differ_by_run_and_by_position() -> None:
    assert len({picture_seed(run, position) for run in range(5) for position in range(100)}) == 500


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"batch_size 6 cannot be divided evenly by 2 processes and accumulation 2"
    ):
        Division(6, parts=2, processes=2)
