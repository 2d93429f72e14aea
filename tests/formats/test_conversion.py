"""What a conversion refuses to do; what it loses is in test_round_trips.py."""

import json

import pytest
from drawing import cell

from sartorius.errors import UserError
from sartorius.formats import Known, convert, write_any


@pytest.fixture
def labels(tmp_path):
    """A folder of label images."""
    write_any(tmp_path / "labels", {"a": cell("##../##..", score=0.5, image_id="a")}, "labels")
    return tmp_path / "labels"


def test_no_file_of_the_folder_that_is_read_is_overwritten(tmp_path, labels):
    table = labels / "labels.csv"
    before = table.read_bytes()
    (tmp_path / "link").symlink_to(labels)
    for out in (table, tmp_path / "link" / "labels.csv"):
        with pytest.raises(UserError, match=r"labels\.csv: expected another file than the input"):
            convert(labels, out, "competition")
    assert table.read_bytes() == before


def test_a_new_file_may_stand_in_the_folder_that_is_read(labels):
    assert convert(labels, labels / "cells.json", "coco").lost == []


def test_a_reference_that_no_format_needs_is_refused(tmp_path, labels):
    reference = tmp_path / "nowhere.json"
    with pytest.raises(
        UserError, match=r"nowhere\.json: a reference explains the numbers of coco-results, but "
    ):
        convert(labels, tmp_path / "a.json", "coco", Known(reference=reference))
    assert not (tmp_path / "a.json").exists()


def test_a_reference_is_used_for_results_that_are_written_and_read(tmp_path, labels):
    reference, results = tmp_path / "reference.json", tmp_path / "results.json"
    convert(labels, reference, "coco")
    convert(labels, results, "coco-results", Known(reference=reference))
    assert json.loads(results.read_text())[0]["image_id"] == 1
    assert convert(results, tmp_path / "b.json", "coco", Known(reference=reference)).lost == []
