import pytest

from sartorius.config import ModelSettings


@pytest.mark.parametrize(
    ("least", "said"),
    [
        (
            {"asto": 0.3, "default": 0.1},
            r"min_score names 'asto', cell_types are \['shsy5y', 'astro', 'cort'\]",
        ),
        ({"astro": 0.3, "cort": 0.1}, "min_score has no value for 'shsy5y'; add it or 'default'"),
        ({"astro": 1.3, "default": 0.1}, "less than or equal to 1"),
    ],
)
def test_a_least_score_must_be_given_for_the_model_s_own_types(least: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelSettings(min_score=least)


def test_a_least_score_may_be_one_for_all_or_one_for_each_type() -> None:
    assert ModelSettings(min_score=0.3).min_score == 0.3
    assert ModelSettings(min_score={"astro": 0.3, "default": 0.1}).min_score == {"astro": 0.3, "default": 0.1}


def test_a_cell_type_is_named_once() -> None:
    with pytest.raises(ValueError, match=r"cell_types names a type twice: \['astro', 'cort', 'astro'\]"):
        ModelSettings(cell_types=("astro", "cort", "astro"))
