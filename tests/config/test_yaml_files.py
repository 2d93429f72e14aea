"""YAML that no program can read is refused as such, whatever PyYAML makes of it."""

from pathlib import Path

import pytest

from sartorius.config.yaml_files import parsed_override, read_layers, relative_to_folder
from sartorius.errors import UserError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rate: " + "9" * 5000, "'" + "9" * 40 + "' cannot be read as int"),
        ("rate: 0x" + "f" * 5000, "cannot be read as int"),
        ("rate: 2026-13-01", "'2026-13-01' cannot be read as timestamp"),
        ("rate: !!bool perhaps", "'perhaps' cannot be read as bool"),
        ('rate: "\\U00110000"', "chr() arg not in range"),
        ("rate: " + "[" * 2000, "it is nested too deeply"),
        ("rate: " + "{a: " * 500 + "1" + "}" * 500, "it is nested too deeply"),
    ],
    ids=["digits", "hexadecimal digits", "month", "tag", "character", "open lists", "mappings"],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str, said: str):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        read_layers(path)
    assert str(refusal.value).startswith(f"{path}: not valid YAML: ")
    assert said in str(refusal.value)


def test_an_override_that_cannot_be_read_is_refused():
    with pytest.raises(
        UserError, match=r"--set rate=.*: the value is not valid YAML: .* cannot be read as int"
    ):
        parsed_override(f"rate={'9' * 5000}")


def test_a_long_file_that_is_no_mapping_is_not_printed_whole(tmp_path: Path):
    path = tmp_path / "submission.csv"
    path.write_text("id,predicted\n" * 9000)
    with pytest.raises(UserError, match="expected a mapping of settings") as refusal:
        read_layers(path)
    assert len(str(refusal.value)) < 300 + len(str(path))


def test_a_file_on_another_drive_is_named_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert relative_to_folder(tmp_path / "a.yaml", tmp_path / "b") == "../a.yaml"

    def on_two_drives(path: Path, start: Path) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr("os.path.relpath", on_two_drives)
    assert relative_to_folder(tmp_path / "a.yaml", tmp_path / "b") == (tmp_path / "a.yaml").as_posix()
