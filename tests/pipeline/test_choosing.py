from pathlib import Path

import pytest
from fake_predictors import small_truth, written_images

from sartorius.errors import UserError
from sartorius.pipeline import choose_images


@pytest.fixture
def competition(tmp_path: Path) -> Path:
    """Training images a, b, c in folds 0, 1, 0, and one test image t."""
    cells = small_truth()["cort_image"]
    written_images(tmp_path / "train", dict.fromkeys("abc", cells))
    written_images(tmp_path / "test", {"t": cells})
    (tmp_path / "train.csv").write_text("id,annotation,width,height,cell_type\n")
    (tmp_path / "folds.csv").write_text("id,fold\na,0\nb,1\nc,0\n")
    return tmp_path


def test_a_folder_of_images_gives_them_all(competition):
    assert choose_images(competition / "train") == {
        image_id: competition / "train" / f"{image_id}.png" for image_id in "abc"
    }


def test_the_competitions_folder_gives_its_test_images(competition):
    assert list(choose_images(competition)) == ["t"]


def test_the_competitions_folder_gives_its_training_images_when_asked(competition):
    assert list(choose_images(competition, split="train")) == ["a", "b", "c"]


def test_a_fold_of_the_competitions_folder_is_taken_from_its_training_images(competition):
    assert list(choose_images(competition, folds_csv=competition / "folds.csv", fold=0)) == ["a", "c"]


def test_ids_narrow_a_fold_down(competition):
    chosen = choose_images(competition, image_ids=["c"], folds_csv=competition / "folds.csv", fold=0)
    assert list(chosen) == ["c"]


@pytest.mark.parametrize("alone", [{"fold": 0}, {"folds_csv": Path("folds.csv")}])
def test_a_fold_without_its_file_or_a_file_without_its_fold_is_refused(competition, alone):
    with pytest.raises(UserError, match="one of them is missing"):
        choose_images(competition, **alone)


def test_a_fold_that_the_file_does_not_have_is_refused_with_those_it_has(competition):
    with pytest.raises(UserError, match="no image is in fold 5; the file has the folds 0, 1"):
        choose_images(competition, folds_csv=competition / "folds.csv", fold=5)


def test_images_of_a_fold_that_are_not_in_the_folder_are_named(competition):
    (competition / "train" / "c.png").unlink()
    with pytest.raises(UserError, match=r"1 of the 2 images that fold 0 of .* asks for .*: c$"):
        choose_images(competition, folds_csv=competition / "folds.csv", fold=0)


def test_an_id_that_is_not_there_is_named(competition):
    with pytest.raises(UserError, match="--ids asks for are not among its 1 images: nowhere"):
        choose_images(competition, image_ids=["t", "nowhere"])


def test_no_id_at_all_is_refused(competition):
    with pytest.raises(UserError, match="--ids names no image"):
        choose_images(competition, image_ids=[])


def test_asking_for_a_split_of_a_plain_folder_is_refused(competition):
    with pytest.raises(UserError, match="expected the competition's folder with test/"):
        choose_images(competition / "train", split="test")


def test_the_real_competitions_test_images_are_found(competition_dir):
    assert list(choose_images(competition_dir)) == ["7ae19de7bc2a", "d48ec7815252", "d8bfd1dafdc4"]
