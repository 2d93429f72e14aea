from pathlib import Path

import pytest
from bright_cells import BrightCells, written_ensemble

from sartorius.app.offers import Choice, Models, find_offers
from sartorius.errors import UserError


def test_an_ensemble_with_its_weights_is_offered_with_its_types_and_thresholds(tmp_path):
    (offer,) = find_offers(
        written_ensemble(tmp_path / "here").parent.joinpath("none"), [tmp_path / "here/bright_discs.yaml"]
    )
    assert offer.title == "Bright discs"
    assert offer.cell_types == ("shsy5y", "astro", "cort")
    assert offer.thresholds == {"shsy5y": 0.5, "astro": 0.5, "cort": 0.5}


def folder_of_ensembles(tmp_path: Path) -> Path:
    """One ensemble with weights and one without, beside each other."""
    path = written_ensemble(tmp_path / "models")
    folder = tmp_path / "ensembles"
    folder.mkdir()
    text = path.read_text().replace("model.yaml", "../models/model.yaml")
    (folder / "ready.yaml").write_text(text.replace("weights.", "../models/weights."))
    (folder / "untrained.yaml").write_text(text.replace("weights.", "../models/missing."))
    return folder


def test_of_a_folder_only_ensembles_whose_weights_are_here_are_offered(tmp_path):
    offers = find_offers(folder_of_ensembles(tmp_path))
    assert [offer.title for offer in offers] == ["Ready"]


def test_of_a_folder_a_wrong_file_is_left_out_with_a_warning_unless_it_is_given(tmp_path, caplog):
    folder = folder_of_ensembles(tmp_path)
    wrong = folder / "wrong.yaml"
    wrong.write_text("membres: []\n")
    given = written_ensemble(tmp_path / "given")
    assert [offer.title for offer in find_offers(folder, [given])] == ["Bright discs", "Ready"]
    (warning,) = caplog.messages
    assert warning.startswith(f"{wrong} is not offered: ")
    assert "membres" in warning
    with pytest.raises(UserError, match="membres"):
        find_offers(folder, [wrong])


def test_of_a_folder_the_ensemble_with_the_smallest_weights_comes_first(tmp_path):
    folder = folder_of_ensembles(tmp_path)
    (folder / "large.yaml").write_text(
        (folder / "ready.yaml").read_text().replace("../models/weights.", "../models/large.")
    )
    (weights,) = (tmp_path / "models").glob("weights.*")
    (weights.parent / f"large{weights.suffix}").write_bytes(weights.read_bytes() + b" ")
    assert [offer.title for offer in find_offers(folder)] == ["Ready", "Large"]


def test_a_given_ensemble_comes_first_and_once(tmp_path):
    folder = folder_of_ensembles(tmp_path)
    given = [written_ensemble(tmp_path / "given"), folder / "ready.yaml"]
    offers = find_offers(folder, given)
    assert [offer.title for offer in offers] == ["Bright discs", "Ready"]
    assert len({offer.key for offer in offers}) == 2


def test_ensembles_of_one_file_name_are_told_apart_by_their_folders(tmp_path):
    offers = find_offers(
        folder_of_ensembles(tmp_path), [written_ensemble(tmp_path / "a"), written_ensemble(tmp_path / "b")]
    )
    assert [offer.title for offer in offers] == ["Bright discs (a)", "Bright discs (b)", "Ready"]


def test_a_given_ensemble_without_weights_is_refused_by_the_missing_file(tmp_path):
    folder = folder_of_ensembles(tmp_path)
    with pytest.raises(
        UserError, match=rf"untrained\.yaml.*there is no {tmp_path}/models/missing\.safetensors"
    ):
        find_offers(None, [folder / "untrained.yaml"])


def test_a_given_ensemble_of_another_programs_predictions_is_refused(tmp_path):
    path = tmp_path / "two_programs.yaml"
    path.write_text("members: [{name: cellpose, predictions: labels}]\n")
    with pytest.raises(UserError, match="member cellpose has predictions of certain images and no model"):
        find_offers(None, [path])


def test_nothing_to_offer_is_told(tmp_path):
    with pytest.raises(UserError, match="found none of 0; name one on the command line"):
        find_offers(tmp_path)


def test_models_are_loaded_once_and_make_room_for_the_next_ensemble(tmp_path):
    offers = find_offers(folder_of_ensembles(tmp_path), [written_ensemble(tmp_path / "given")])
    loaded: list[str] = []

    def load(path, settings):
        loaded.append(path.stem)
        return {"bright": BrightCells()}

    models = Models(load)
    assert models.of(offers[0]) is models.of(offers[0])
    assert models.are_loaded(offers[0])
    models.of(offers[1])
    assert not models.are_loaded(offers[0])
    models.of(offers[0])
    assert loaded == ["bright_discs", "ready", "bright_discs"]


def test_a_choice_tells_other_cells_from_the_same(tmp_path):
    offer = find_offers(None, [written_ensemble(tmp_path)])[0]
    key = Choice(offer, {"astro": 0.5, "cort": 0.5}).key("a")
    assert key == Choice(offer, {"cort": 0.5, "astro": 0.5}).key("a")
    assert key != Choice(offer, {"astro": 0.6, "cort": 0.5}).key("a")
    assert key != Choice(offer, {"astro": 0.5, "cort": 0.5}).key("b")


def test_the_page_begins_with_the_small_model_that_ships():
    project = Path(__file__).resolve().parents[2]
    if not (project / "models" / "starter" / "model.safetensors").is_file():
        pytest.skip("models/starter has no weights in this checkout")
    assert find_offers(project / "configs" / "ensembles")[0].title == "Starter"
