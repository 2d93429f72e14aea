"""One value for each cell type."""

import numpy as np
import pytest
from pydantic import ValidationError

from sartorius.config.fusion import PostprocessSettings
from sartorius.config.per_type import value_for, values_for
from sartorius.errors import UserError


def test_a_plain_number_holds_for_every_type():
    assert value_for(0.3, "astro") == 0.3
    assert values_for(0.3, ["astro", "cort"]).tolist() == [0.3, 0.3]


def test_a_mapping_gives_each_row_its_type_s_value():
    values = values_for({"astro": 0.1, "cort": 0.2}, np.array(["cort", "astro", "cort"]))
    assert values.tolist() == [0.2, 0.1, 0.2]


def test_types_that_the_mapping_does_not_name_take_the_default():
    assert values_for({"astro": 75, "default": 50}, ["shsy5y", "astro"]).tolist() == [50.0, 75.0]


def test_a_type_without_a_value_is_named_together_with_those_that_have_one():
    with pytest.raises(UserError, match="no value for cell type 'cort': the setting names astro, shsy5y"):
        value_for({"shsy5y": 0.1, "astro": 0.2}, "cort")


def test_no_cells_have_no_values():
    values = values_for({"astro": 0.1}, [])
    assert (values.shape, values.dtype) == ((0,), np.float64)


@pytest.mark.parametrize("pixels", [10**30, {"astro": 10**9 + 1, "default": 5}])
def test_more_pixels_than_an_image_has_are_refused(pixels):
    with pytest.raises(ValidationError, match="less than or equal to 1000000000"):
        PostprocessSettings(min_area_px=pixels)
