from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.modeling import build_model
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from safetensors.torch import save_file
from tiny_models import TINY

from sartorius.cells import Cells
from sartorius.config import ModelSettings
from sartorius.config.members import ViewSettings
from sartorius.detectron.predictor import Predictor, load_predictor, require_device
from sartorius.detectron.settings import detectron_config
from sartorius.errors import UserError
from sartorius.rle import dense_from_coco


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(8)
    model = build_model(detectron_config(TINY, "cpu")).eval()
    model.roi_heads.mask_head.predictor.weight.data *= 300  # far from .5, where untrained masks all lie
    return model


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)


def test_masks_are_those_detectron2_pastes(model: torch.nn.Module) -> None:
    cells = Predictor(model, TINY)(picture(), "p", ViewSettings())
    tensor = torch.from_numpy(np.repeat(picture()[None].astype(np.float32), 3, axis=0))
    with torch.inference_mode():
        found = model.inference([{"image": tensor}], do_postprocess=False)[0]
        pasted = detector_postprocess(found, 64, 96).pred_masks.numpy()
    ours = sum(dense_from_coco(mask).astype(int) for mask in cells.masks)
    theirs = pasted.sum(axis=0)
    assert theirs.sum() > 500
    assert np.abs(ours - theirs).sum() < 0.01 * theirs.sum()  # soft masks are kept as bytes


def test_soft_masks_and_their_boxes_are_kept(model: torch.nn.Module) -> None:
    cells = Predictor(model, TINY)(picture(), "p", ViewSettings())
    assert cells.soft_masks is not None
    assert cells.soft_masks.shape == (len(cells), 28, 28)
    assert (np.diff(cells.scores) <= 0).all()


def test_a_view_comes_back_in_the_frame_of_the_image(model: torch.nn.Module) -> None:
    flip = ViewSettings(flip="horizontal")
    straight = Predictor(model, TINY)(np.ascontiguousarray(picture()[:, ::-1]), "p", ViewSettings())
    turned = Predictor(model, TINY)(picture(), "p", flip)
    assert len(turned) == len(straight) > 0
    for ours, mirrored in zip(turned.masks, straight.masks, strict=True):
        assert np.array_equal(dense_from_coco(ours), dense_from_coco(mirrored)[:, ::-1])


def test_an_image_without_detections_gives_no_cells(model: torch.nn.Module) -> None:
    sure = TINY.model_copy(update={"min_score": 0.999})
    silent = build_model(detectron_config(sure, "cpu")).eval()
    cells = Predictor(silent, sure)(picture(), "p", ViewSettings())
    assert len(cells) == 0
    assert cells.size_hw == (64, 96)


def test_predicting_leaves_a_model_in_training_mode(model: torch.nn.Module) -> None:
    model.train()
    Predictor(model, TINY)(picture(), "p", ViewSettings())
    assert model.training
    model.eval()


def test_a_predictor_loads_from_files(model: torch.nn.Module, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY.model_dump(mode="json")))
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    predictor = load_predictor(tmp_path / "tiny.yaml", tmp_path / "tiny.safetensors", "cpu")
    assert len(predictor.weights_sha256) == 64
    assert predictor.config["backbone"] == "r50_thin"
    expected = Predictor(model, TINY)(picture(), "p", ViewSettings())
    assert predictor(picture(), "p", ViewSettings()).masks == expected.masks


def test_a_name_that_detectron2_does_not_know_is_told_with_its_key(tmp_path: Path) -> None:
    wrong = TINY.model_copy(update={"detectron": {"MODEL.RPN.HEAD_NAME": "foo"}})
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(wrong.model_dump(mode="json")))
    with pytest.raises(
        UserError, match=r"^detectron: expected values .*MODEL\.RPN\.HEAD_NAME: foo \(KeyError"
    ):
        load_predictor(tmp_path / "tiny.yaml", tmp_path / "tiny.safetensors", "cpu")


def test_a_device_that_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="--device nonsense"):
        require_device("nonsense")


@pytest.mark.parametrize("cascade", [False, True])
def test_a_least_score_of_a_type_drops_its_detections_before_their_masks_and_nothing_else(
    cascade: bool,
) -> None:
    torch.manual_seed(0)
    image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    settings = TINY.model_copy(update={"cascade": cascade, "detections_per_image": 1000})
    model = build_model(detectron_config(settings, "cpu"))
    everything, all_drawn = cells_and_masks_drawn(model, settings, image)
    bar = float(np.median(everything.scores[everything.cell_types == "astro"]))
    chosen = settings.model_copy(update={"min_score": {"astro": bar, "default": 0.0}})
    picky = build_model(detectron_config(chosen, "cpu"))
    picky.load_state_dict(model.state_dict())
    found, drawn = cells_and_masks_drawn(picky, chosen, image)
    expected = everything[(everything.cell_types != "astro") | (everything.scores >= np.float32(bar))]
    assert 0 < len(expected) < len(everything)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.masks == expected.masks
    astro = settings.cell_types.index("astro")
    assert drawn == [(kind, score) for kind, score in all_drawn if kind != astro or score >= np.float32(bar)]


def cells_and_masks_drawn(
    model: torch.nn.Module, settings: ModelSettings, image: np.ndarray
) -> tuple[Cells, list[tuple[int, float]]]:
    """What a model finds, and the class and score of every detection that its mask head has drawn."""
    drawn: list[tuple[int, float]] = []

    def note(module: torch.nn.Module, given: tuple[torch.Tensor, list[Instances]]) -> None:
        (found,) = given[1]
        assert len(given[0]) == len(found)
        drawn.extend(zip(found.pred_classes.tolist(), found.scores.tolist(), strict=True))

    model.roi_heads.mask_head.register_forward_pre_hook(note)
    return Predictor(model, settings)(image, "a", ViewSettings()), drawn


class Recorded:
    """Notes what the network is given, and answers as it would."""

    def __init__(self, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures: list[torch.Tensor] = []
        plain = model.inference

        def inference(inputs, boxes=None, do_postprocess=True):
            self.pictures += [one["image"] for one in inputs]
            return plain(inputs, boxes, do_postprocess)

        monkeypatch.setattr(model, "inference", inference)


def test_a_picture_goes_to_the_network_as_one_plane_of_bytes(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Recorded(model, monkeypatch)
    Predictor(model, TINY)(picture(), "p", ViewSettings())
    (given,) = seen.pictures
    assert given.dtype == torch.uint8
    assert np.array_equal(given.numpy(), picture()[None])


def test_one_plane_of_bytes_is_the_grey_picture_of_three_planes(model: torch.nn.Module) -> None:
    plane = torch.from_numpy(picture())[None]
    grey = model.preprocess_image([{"image": plane}]).tensor
    colour = model.preprocess_image([{"image": plane.float().expand(3, -1, -1)}]).tensor
    assert grey.shape == (1, 3, 64, 96)
    assert torch.equal(grey, colour)


def test_soft_masks_are_the_networks_probabilities_as_the_nearest_bytes(model: torch.nn.Module) -> None:
    with torch.inference_mode():
        plain = model.inference([{"image": torch.from_numpy(picture())[None]}], do_postprocess=False)[0]
    (answer,) = Predictor(model, TINY)._inference(picture(), "p", [ViewSettings()], None)
    output = answer()
    assert output.masks.dtype == np.uint8
    assert np.array_equal(output.masks, np.rint(plain.pred_masks[:, 0].numpy() * 255))
    assert np.array_equal(output.boxes_xyxy, plain.pred_boxes.tensor.numpy())
    assert np.array_equal(output.scores, plain.scores.numpy())
    assert np.array_equal(output.classes, plain.pred_classes.numpy())
    assert output.network_hw == (64, 96)


def test_the_precision_on_a_gpu_changes_nothing_on_a_cpu(model: torch.nn.Module) -> None:
    found = [
        Predictor(model, TINY.model_copy(update={"gpu_precision": precision}))(picture(), "p", ViewSettings())
        for precision in ("float32", "float16", "bfloat16")
    ]
    assert len(found[0]) > 0
    for cells in found[1:]:
        assert cells.masks == found[0].masks
        assert np.array_equal(cells.scores, found[0].scores)


def test_a_look_is_finished_by_another_thread_with_the_same_cells(model: torch.nn.Module) -> None:
    predictor, views = Predictor(model, TINY), [ViewSettings(), ViewSettings(flip="vertical")]
    finish = predictor.look(picture(), "p", views)
    with ThreadPoolExecutor(1) as pool:
        finished = pool.submit(finish).result()
    for cells, expected in zip(finished, predictor.of_views(picture(), "p", views), strict=True):
        assert len(cells) > 0
        assert cells.masks == expected.masks
        assert cells.sources.tolist() == expected.sources.tolist()
