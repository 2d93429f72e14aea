import sys
import tempfile
from pathlib import Path

import pytest
from tuning_scene import TOOLS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize("tool", ["bench_training", "bench_inference"])
def test_a_network_that_detectron2_does_not_have_is_refused_before_anything_is_measured(
    tool, monkeypatch, capsys
) -> None:
    pytest.importorskip("detectron2")
    monkeypatch.syspath_prepend(str(TOOLS))
    benchmark = __import__(tool)
    monkeypatch.setattr(benchmark, "section", lambda _: pytest.fail("it began"))
    given = ["--data", "d", "--weights", "w", "--model", str(CONFIGS / "models" / "flows_r50.yaml")]
    folds = ["--folds", "f"] if tool == "bench_inference" else []
    monkeypatch.setattr(sys, "argv", [tool, *given, *folds])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code == 2
    assert "flows_r50.yaml: detectron2 has no network of flows" in capsys.readouterr().err


def test_temporary_files_of_a_benchmark_and_its_processes_do_not_stay(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    from bench_models import temporary_files_removed

    before = tempfile.gettempdir()
    with temporary_files_removed():
        made = Path(tempfile.mkdtemp())
        (made / "weights").touch()
    assert not made.exists()
    assert tempfile.gettempdir() == before


def test_a_processor_without_avx512_has_a_section_of_its_own(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    from bench_models import named_for_processor

    assert named_for_processor("training", "Training", "AVX512") == ("training", "Training")
    assert named_for_processor("training", "Training", "AVX2") == ("training-avx2", "Training with AVX2")
