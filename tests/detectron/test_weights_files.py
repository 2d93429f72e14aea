"""What lies in weights files, and beside them."""

import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sartorius.data.leakage import read_trained_on, write_trained_on
from sartorius.detectron.weights import CellCheckpointer, export, read_weights
from sartorius.errors import UserError


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"state_dict": {"weight": torch.ones(1)}, "meta": {"epoch": 3}}, "a dict named state_dict"),
        ({"model": {"weight": torch.ones(1), "epoch": 3}}, "a int named epoch"),
        ([1, 2], "a list"),
    ],
)
def test_a_checkpoint_of_another_program_is_told_in_one_message(
    content: object, got: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match=rf"theirs\.pth: expected a network's tensors .* got {got}"):
        read_weights(tmp_path / "theirs.pth")


@pytest.mark.parametrize("content", [b"garbage", pickle.dumps({"model": Path("x")})], ids=["garbage", "code"])
def test_nobody_is_advised_to_let_an_unreadable_checkpoint_run_its_code(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.pth: .*: it is no checkpoint, or holds more") as caught:
        read_weights(tmp_path / "bad.pth")
    assert "weights_only" not in str(caught.value)


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """Two runs that were trained on other images, and one that does not say on which."""
    for name in "abc":
        (tmp_path / name).mkdir()
        torch.save({"model": {"weight": torch.ones(1)}}, tmp_path / name / "model_final.pth")
        if name != "c":
            write_trained_on(tmp_path / name, {f"image of {name}": "hash"})
    return {name: tmp_path / name for name in "abc"}


def test_arrays_of_a_pickle_are_exported_as_tensors(tmp_path: Path) -> None:
    (tmp_path / "r50.pkl").write_bytes(pickle.dumps({"model": {"a": np.full((2, 3), 0.1, np.float32)}}))
    export(tmp_path / "r50.pkl", tmp_path / "r50.safetensors", "float16")
    assert torch.equal(load_file(tmp_path / "r50.safetensors")["a"], torch.full((2, 3), 0.1).half())


def test_the_list_of_images_of_other_weights_in_a_folder_is_not_replaced(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped"
    export(runs["a"], shipped / "all.safetensors", "float16")
    for other in (runs["b"], runs["c"]):
        with pytest.raises(UserError, match=r"trained_on\.csv: lists the images that other weights"):
            export(other, shipped / "fold0.safetensors", "float16")
    assert not (shipped / "fold0.safetensors").exists()
    assert read_trained_on(shipped) == {"image of a": "hash"}
    export(runs["a"], shipped / "bytes.safetensors", "int8")
    assert read_trained_on(shipped) == {"image of a": "hash"}


def test_weights_that_are_exported_anew_under_their_name_have_the_new_list(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "shipped" / "model.safetensors"
    export(runs["a"], out, "float16")
    export(runs["b"], out, "float16")
    assert read_trained_on(out) == {"image of b": "hash"}
    with pytest.raises(UserError, match="not those of"):
        export(runs["c"], out, "float16")


def test_the_beginning_of_weights_that_a_killed_export_left_is_no_other_weights(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "models" / "m.safetensors"
    export(runs["a"], out, "float32")
    (out.parent / ".m.x1y2.safetensors").write_bytes(b"half")
    export(runs["b"], out, "float32")
    assert read_trained_on(out) == {"image of b": "hash"}


def test_weights_without_a_list_stand_beside_others_without_one(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    export(runs["c"], tmp_path / "model.safetensors", "float16")
    assert not (tmp_path / "trained_on.csv").exists()


@contextmanager
def little_room() -> Iterator[None]:
    """No file can grow beyond 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_export_for_which_there_is_no_room_is_no_fault_of_ours(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.ones(100_000)}}, tmp_path / "model_final.pth")
    with pytest.raises(OSError, match=r"File too large: '.*out\.safetensors'"), little_room():
        export(tmp_path, tmp_path / "out.safetensors", "float32")
    assert [path.name for path in tmp_path.iterdir()] == ["model_final.pth"]


def test_a_checkpoint_for_which_there_is_no_room_is_no_fault_of_ours(tmp_path: Path) -> None:
    checkpointer = CellCheckpointer(torch.nn.Linear(300, 300), str(tmp_path))
    with pytest.raises(OSError, match=r"File too large: '.*model_0000001\.pth'"), little_room():
        checkpointer.save("model_0000001")
    assert list(tmp_path.iterdir()) == []
