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


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"freeze_stages": 5},
            "freeze_stages 5 leaves the backbone as it is; backbone_lr_factor has no effect",
        ),
        (
            {"freeze_stages": 4, "backbone_stages": 4, "anchor_sizes_px": (8, 16, 32, 64)},
            "freeze_stages 4 leaves the backbone",
        ),
        (
            {"train_only": ("mask_head",)},
            "train_only leaves the backbone as it is; backbone_lr_factor has no",
        ),
    ],
)
def test_a_rate_of_its_own_needs_a_backbone_that_is_trained(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelSettings(backbone_lr_factor=0.1, **changed)


@pytest.mark.parametrize("changed", [{"class_weights": {"astro": 2.0}}, {"box_loss": "giou"}])
def test_losses_of_the_box_head_are_refused_where_it_is_not_trained(changed: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match="train_only leaves the box head as it is; class_weights and box_loss"
    ):
        ModelSettings(train_only=("mask_head",), **changed)


def test_the_rate_falls_once_at_a_fraction() -> None:
    with pytest.raises(ValueError, match=r"step_fractions names a fraction twice: \[0.5, 0.5\]"):
        ModelSettings(step_fractions=(0.5, 0.5))
