import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from tiny_models import TINY

from sartorius.config.members import ViewSettings
from sartorius.detectron.memory import MemorySteps, Step, placed
from sartorius.detectron.predictor import Predictor
from sartorius.detectron.settings import detectron_config

FLIPS = [ViewSettings(flip=flip) for flip in ("none", "horizontal", "vertical", "rotate180")]


class SmallGpu:
    """Work whose memory lasts for so many views of so large a side."""

    def __init__(self, views: int, side: float) -> None:
        self.views, self.side = views, side
        self.tried: list[Step] = []

    def __call__(self, step: Step) -> Step:
        self.tried.append(step)
        if not step.on_cpu and (step.views_at_once > self.views or step.side > self.side):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return step


def test_what_fits_is_done_at_once() -> None:
    assert MemorySteps(on_gpu=True).run("p", 4, SmallGpu(8, 1)) == Step(4)


def test_fewer_views_at_once_are_tried_first_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    memory, gpu = MemorySteps(on_gpu=True), SmallGpu(1, 1)
    assert memory.run("p", 4, gpu) == Step(1)
    assert gpu.tried == [Step(4), Step(2), Step(1)]
    assert caplog.messages == [
        "p: the GPU's memory is full; trying 2 views at once",
        "p: the GPU's memory is full; trying 1 view at once",
    ]
    assert memory.run("q", 4, SmallGpu(1, 1)) == Step(1)
    assert len(caplog.messages) == 2


def test_then_fewer_pixels_for_this_image_alone(caplog: pytest.LogCaptureFixture) -> None:
    memory = MemorySteps(on_gpu=True)
    assert memory.run("p", 1, SmallGpu(8, 0.5)) == Step(1, 0.5)
    assert caplog.messages[-1] == "p: the GPU's memory is full; trying this image at 50% of its side"
    assert memory.run("q", 1, SmallGpu(8, 1)) == Step(1)


def test_and_at_last_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    gpu = SmallGpu(0, 0)
    assert MemorySteps(on_gpu=True).run("p", 2, gpu) == Step(1, on_cpu=True)
    assert [str(step) for step in gpu.tried[-3:]] == [
        "this image at 75% of its side",
        "this image at 50% of its side",
        "this image on the CPU",
    ]


def test_other_errors_are_not_swallowed() -> None:
    def broken(step: Step) -> None:
        raise RuntimeError("not about memory")

    with pytest.raises(RuntimeError, match="not about memory"):
        MemorySteps(on_gpu=True).run("p", 1, broken)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(8)
    model = build_model(detectron_config(TINY, "cpu")).eval()
    model.roi_heads.mask_head.predictor.weight.data *= 300  # far from .5, where untrained masks all lie
    return model


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8)


def test_a_network_that_was_on_the_cpu_is_again_where_and_what_it_was() -> None:
    norm = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2)).bfloat16()
    before = {name: (own.data_ptr(), own.dtype) for name, own in norm.state_dict().items()}
    with placed(norm, on_cpu=True):
        assert norm[0].weight.dtype == norm[1].running_mean.dtype == torch.float32
    assert {name: (own.data_ptr(), own.dtype) for name, own in norm.state_dict().items()} == before


def test_views_seen_at_once_are_those_seen_one_by_one(model: torch.nn.Module, image: np.ndarray) -> None:
    predictor = Predictor(model, TINY)
    views = [*FLIPS, ViewSettings(scale=1.5)]
    one_by_one = [predictor(image, "p", view) for view in views]
    predictor._memory.views_at_once = 8
    for together, alone in zip(predictor.of_views(image, "p", views), one_by_one, strict=True):
        assert len(together) == len(alone) > 0
        assert together.sources.tolist() == alone.sources.tolist()
        assert np.allclose(together.scores, alone.scores, atol=1e-5)
        assert np.allclose(together.boxes_xyxy, alone.boxes_xyxy, atol=1)


def test_a_predictor_out_of_memory_finds_cells_in_fewer_pixels_in_the_frame_of_the_image(
    model: torch.nn.Module, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def small_gpu(inputs, boxes=None, do_postprocess=True):
        sizes.append([tuple(one["image"].shape[1:]) for one in inputs])
        if len(inputs) > 1 or inputs[0]["image"].shape[2] > 48:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return type(model).inference(model, inputs, boxes, do_postprocess)

    predictor = Predictor(model, TINY)
    predictor._memory.views_at_once = 2
    monkeypatch.setattr(model, "inference", small_gpu)
    found = predictor.of_views(image, "p", FLIPS[:2])
    assert sizes == [[(64, 96)] * 2, [(64, 96)], [(48, 72)], [(32, 48)], [(32, 48)]]
    assert [cells.size_hw for cells in found] == [(64, 96)] * 2
    assert all(len(cells) for cells in found)
    assert max(cells.boxes_xyxy[:, 2].max() for cells in found) > 48
