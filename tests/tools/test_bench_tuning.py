import sys

import pytest
from tuning_scene import TOOLS


def test_a_cache_without_the_data_that_it_is_of_is_refused_before_anything_is_measured(
    monkeypatch, capsys
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import bench_tuning

    monkeypatch.setattr(bench_tuning, "synthesize", lambda *_, **__: pytest.fail("it began"))
    monkeypatch.setattr(sys, "argv", ["bench_tuning.py", "--cache", "ensemble.yaml", "cache"])
    with pytest.raises(SystemExit) as ended:
        bench_tuning.main()
    assert ended.value.code == 2
    assert "--cache needs --data" in capsys.readouterr().err
