import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from drawing import cell, cells, drawn

from sartorius.cells import Cells, no_cells
from sartorius.data import predictions
from sartorius.data.predictions import (
    PredictionManifest,
    list_predictions,
    prediction_path,
    read_cells,
    read_manifest,
    read_prediction_folder,
    write_cells,
    write_manifest,
)
from sartorius.errors import UserError

MANIFEST = PredictionManifest(
    source="r50/horizontal",
    model="mask_rcnn_r50.yaml",
    view="horizontal",
    config={"input_scale": 2.0, "anchor_sizes_px": [8, 16]},
    package_version="0.1.0",
    weights_sha256="ab" * 32,
)


def soft_cell(score: float) -> Cells:
    soft = np.arange(784).reshape(28, 28) % 256
    return cell("##../#...", score=score, soft=soft, soft_box=(-0.25, 0, 2.125, 1.5))


def assert_same(found: Cells, expected: Cells) -> None:
    assert (found.image_id, found.size_hw, found.masks) == (
        expected.image_id,
        expected.size_hw,
        expected.masks,
    )
    for name in ("scores", "cell_types", "sources", "soft_masks", "soft_boxes_xyxy"):
        left, right = getattr(found, name), getattr(expected, name)
        assert (left is None) == (right is None), name
        if right is not None:
            assert left.dtype.kind == right.dtype.kind
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    "written",
    [
        cells(cell("##../....", score=0.25, cell_type="astro"), cell("..../...#", score=1 / 3, source="b/é")),
        cells(soft_cell(0.5), soft_cell(0.125)),
        cell("...."),
        no_cells("nothing", (520, 704)),
        no_cells("Зельле 細胞 №1", (3, 5)),
        soft_cell(0.5)[[]],
    ],
    ids=["hard", "soft", "mask without pixels", "no cells", "unicode", "soft columns without rows"],
)
def test_what_was_written_is_read_again(tmp_path, written):
    path = prediction_path(tmp_path, written.image_id)
    write_cells(path, written)
    assert_same(read_cells(path), written)
    assert [path.name for path in tmp_path.iterdir()] == [f"{written.image_id}.npz"]


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "drawn.npz"
    write_cells(path, cell("#."))

    def full_disk(stream, **_arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predictions.np, "savez_compressed", full_disk)
    with pytest.raises(UserError, match=r"drawn\.npz: the disk is full"):
        write_cells(path, cell(".#"))
    assert drawn(read_cells(path)) == ["#."]
    assert list(tmp_path.iterdir()) == [path]


def test_a_numpy_whose_savez_takes_no_allow_pickle_writes_no_column_of_that_name(tmp_path, monkeypatch):
    def old_savez(stream, *args, **kwds):
        stored.update(kwds)
        np.savez(stream, *args, **kwds)

    stored = {}
    monkeypatch.setattr(predictions.np, "savez_compressed", old_savez)
    write_cells(tmp_path / "drawn.npz", soft_cell(0.5), picture="ab")
    assert sorted(stored) == [
        "cache_version", "cell_types", "counts", "image_id", "offsets", "picture", "scores", "size_hw",
        "soft_boxes_xyxy", "soft_masks", "sources",
    ]  # fmt: skip


def test_a_file_in_which_an_older_numpy_stored_allow_pickle_as_a_column_is_read(tmp_path):
    path = tmp_path / "drawn.npz"
    write_cells(path, soft_cell(0.5), picture="ab")
    with np.load(path) as before:
        arrays = {name: before[name] for name in before.files}
    with zipfile.ZipFile(path, "a") as archive:  # numpy's own function no longer stores an array of this name
        stream = io.BytesIO()
        np.save(stream, np.array(False))
        archive.writestr("allow_pickle.npy", stream.getvalue())
    with np.load(path) as after:
        assert set(after.files) == {*arrays, "allow_pickle"}
    assert_same(read_cells(path), soft_cell(0.5))


def changed(path: Path, **arrays: object) -> None:
    with np.load(path) as before:
        np.savez_compressed(path, **({name: before[name] for name in before.files} | arrays))


@pytest.mark.parametrize("kept", [0, 1, 30, 200, -1])
def test_a_file_cut_short_is_refused_by_name(tmp_path, kept):
    path = tmp_path / "drawn.npz"
    write_cells(path, soft_cell(0.5))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"drawn\.npz: .*delete it and predict again"):
        read_cells(path)


def test_a_changed_byte_never_changes_what_is_read_without_a_word(tmp_path):
    path = tmp_path / "drawn.npz"
    write_cells(path, soft_cell(0.5))
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert_same(read_cells(path), soft_cell(0.5))  # a byte of the archive that nothing depends on
        except UserError:
            refused += 1
    assert refused > len(whole) / 7 / 3


@pytest.mark.parametrize(
    "arrays",
    [
        {"scores": np.array([0.5, 0.5], np.float32)},
        {"scores": np.array([1.5], np.float32)},
        {"scores": np.array([0.5])},
        {"offsets": np.array([0, 1000])},
        {"offsets": np.array([], dtype=np.int64)},
        {"size_hw": np.array([1, 2, 3])},
        {"size_hw": np.array([-1, -8])},
        {"size_hw": np.array([0, 0])},
        {"size_hw": np.array([3, 2])},
        {"size_hw": np.array([np.inf, 1])},
        {"cache_version": np.array(2)},
        {"sources": np.array([object()], dtype=object)},
        {"soft_masks": np.zeros((1, 28, 27), np.uint8)},
    ],
    ids=lambda arrays: next(iter(arrays)),
)
def test_columns_that_do_not_agree_are_refused(tmp_path, arrays):
    path = tmp_path / "drawn.npz"
    write_cells(path, soft_cell(0.5))
    changed(path, **arrays)
    with pytest.raises(UserError, match=r"drawn\.npz"):
        read_cells(path)


@pytest.mark.parametrize("byte", [48, 55, 111, 255])
def test_masks_that_are_none_of_the_image_are_refused(tmp_path, byte):
    path = tmp_path / "drawn.npz"
    write_cells(path, cells(cell("##../...."), cell("..../.##.")))
    with np.load(path) as arrays:
        counts = np.full_like(arrays["counts"], byte)
    changed(path, counts=counts)
    with pytest.raises(
        UserError, match=r"drawn\.npz: .*\(ValueError: mask 0: .*\); delete it and predict again"
    ):
        read_cells(path)


def test_a_foreign_file_and_a_missing_one_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", labels=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("other.npz", "array.npy"):
        with pytest.raises(UserError, match="damaged or foreign"):
            read_cells(tmp_path / name)
    with pytest.raises(UserError, match="predict this image first"):
        read_cells(tmp_path / "missing.npz")


def test_a_manifest_is_read_as_written(tmp_path):
    write_manifest(tmp_path / "r50" / "horizontal", MANIFEST)
    assert read_manifest(tmp_path / "r50" / "horizontal") == MANIFEST


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "Invalid JSON"),
        ("{}", "source Field required"),
        (json.dumps({"source": "a/b", "package_version": "1", "colour": 1}), "colour Extra inputs"),
        (json.dumps({"source": "a/b", "package_version": "1", "cache_version": 9}), "got 9; predict again"),
    ],
)
def test_a_manifest_that_is_none_is_refused_by_name(tmp_path, text, what):
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"manifest\.json.*{what}"):
        read_manifest(tmp_path)


def test_a_folder_is_read_image_by_image_in_order_of_ids(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    for image_id in ("b", "a", "c.d"):
        write_cells(prediction_path(tmp_path, image_id), no_cells(image_id, (2, 3)))
    (tmp_path / ".e.half.npz").write_bytes(b"")
    assert list(read_prediction_folder(tmp_path)) == ["a", "b", "c.d"]
    assert list(list_predictions(tmp_path)) == ["a", "b", "c.d"]


def test_a_file_named_after_another_image_is_refused(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    write_cells(tmp_path / "a.npz", no_cells("b", (2, 3)))
    with pytest.raises(UserError, match="the name says image a, the file holds b"):
        read_prediction_folder(tmp_path)


def test_a_folder_without_manifest_is_refused(tmp_path):
    for read in (read_manifest, read_prediction_folder, list_predictions):
        with pytest.raises(UserError, match=r"with manifest\.json, found none"):
            read(tmp_path)
