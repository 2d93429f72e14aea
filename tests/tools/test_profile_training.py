import sys

import pytest
from tuning_scene import TOOLS


class EngineAskedError(Exception):
    """Raised in place of an engine, with the settings that it would have."""


def test_the_model_for_a_gpu_is_profiled_on_a_cpu_without_its_recorded_kernels(tmp_path, monkeypatch):
    pytest.importorskip("detectron2")
    monkeypatch.syspath_prepend(str(TOOLS))
    import bench_training
    import profile_training

    def engine(settings, *_):
        raise EngineAskedError(settings)

    monkeypatch.setattr(bench_training, "our_engine", engine)
    monkeypatch.setattr(profile_training, "list_images", lambda _: {"a": tmp_path / "a.png"})
    monkeypatch.setattr(profile_training, "image_folder", lambda *_: tmp_path)
    for device, recorded in (("cpu", False), ("cuda", True)):
        arguments = ["--data", str(tmp_path), "--weights", "none.pkl", "--device", device]
        monkeypatch.setattr(sys, "argv", ["profile_training.py", *arguments])
        with pytest.raises(EngineAskedError) as asked:
            profile_training.main()
        assert asked.value.args[0].cuda_graphs == recorded
