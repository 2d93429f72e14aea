from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from sartorius.detectron.curves import LossTable, curves_png
from sartorius.errors import UserError


@pytest.mark.parametrize("text", ["", "step,loss\n1,2\n", "iteration,loss\n1,two\n"])
def test_a_damaged_table_of_the_steps_before_is_told_in_one_message(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    table = LossTable(tmp_path, 1)
    table.trainer = SimpleNamespace(start_iter=1)
    with pytest.raises(UserError, match=r"metrics\.csv: expected the losses .* delete the file"):
        table.before_train()


def test_a_cell_type_with_dollar_signs_is_no_formula(tmp_path: Path) -> None:
    row = {"iteration": 1, "total_loss": 2.0, "validation/mAP_$IL_$2": 0.5}
    pd.DataFrame([row]).to_csv(tmp_path / "metrics.csv", index=False)
    curves_png(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
