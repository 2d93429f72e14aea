"""The images that settings are searched on."""

import hashlib
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tuning_scene import data_of

from sartorius.cells import no_cells
from sartorius.data.folds import write_folds
from sartorius.data.predictions import prediction_path, write_cells
from sartorius.errors import UserError
from sartorius.tuning.images import Data, read_cached_images, refuse_searched_on


def test_parts_are_the_folds_of_the_images_whatever_their_numbers(scene, tmp_path):
    numbers = {image_id: (7, 2, 4)[place % 3] for place, image_id in enumerate(sorted(scene.truth))}
    write_folds(tmp_path / "folds.csv", numbers)
    parts = read_cached_images(
        scene.ensemble, scene.settings, data_of(scene, folds=tmp_path / "folds.csv"), 3, 0
    ).parts
    assert parts.of_image.tolist() == [2, 0, 1, 2, 0, 1]
    assert (len(parts), parts.sizes, parts.origin) == (3, (2, 2, 2), "folds 2, 4, 7")


def test_predictions_of_an_image_of_another_size_than_the_truths_are_refused(scene, tmp_path):
    cache = shutil.copytree(scene.cache, tmp_path / "cache")
    image_id, truth = sorted(scene.truth.items())[0]
    height, width = truth.size_hw
    for name in scene.settings.sources:
        write_cells(prediction_path(cache / name, image_id), no_cells(image_id, (height // 2, width)))
    data = Data((cache,), scene.truth_csv, scene.folds)
    with pytest.raises(
        UserError,
        match=f"{image_id}: predictions are for {height // 2} x {width} px .*, the truth is {height} x {width} px",
    ):
        read_cached_images(scene.ensemble, scene.settings, data, 3, 0)


def test_images_of_one_fold_are_split_one_by_one_where_no_two_are_of_one_well(scene, tmp_path):
    write_folds(tmp_path / "folds.csv", dict.fromkeys(scene.truth, 0))
    data = data_of(scene, folds=tmp_path / "folds.csv")
    cached = read_cached_images(scene.ensemble, scene.settings, data, 3, 0)
    assert cached.parts.sizes == (2, 2, 2)
    assert cached.parts.origin == "fold 0 split into 3, image by image, seed 0"
    assert "for no image of the weights model00" in cached.trained.origin


def test_fewer_images_than_parts_are_refused_by_the_option_s_name(scene, tmp_path):
    write_folds(tmp_path / "folds.csv", dict.fromkeys(scene.truth, 0))
    data = data_of(scene, folds=tmp_path / "folds.csv")
    with pytest.raises(
        UserError, match=r"^--parts 7: expected at least as many images, .* of fold 0, got 6;"
    ):
        read_cached_images(scene.ensemble, scene.settings, data, 7, 0)


def test_images_of_one_fold_are_split_with_wells_kept_together(scene, tmp_path):
    write_folds(tmp_path / "folds.csv", dict.fromkeys(scene.truth, 0))
    table = pd.read_csv(scene.truth_csv)
    pairs = {image_id: f"well {place // 2}" for place, image_id in enumerate(sorted(scene.truth))}
    table.assign(sample_id=table["id"].map(pairs)).to_csv(tmp_path / "train.csv", index=False)
    data = data_of(scene, truth=tmp_path / "train.csv", folds=tmp_path / "folds.csv")
    cached = read_cached_images(scene.ensemble, scene.settings, data, 3, 0)
    assert np.ptp(cached.parts.of_image.reshape(3, 2), axis=1).tolist() == [0, 0, 0]
    assert cached.parts.origin == "fold 0 split into 3, wells kept together, seed 0"


def test_a_source_that_no_image_wants_does_not_tell_that_predictions_were_searched_on(tmp_path):
    def found(**digests):
        return tuple(
            SimpleNamespace(source=name, predictions_sha256=text, images_sha256="")
            for name, text in digests.items()
        )

    nothing = hashlib.sha256().hexdigest()
    tuned = SimpleNamespace(
        sources=found(starter="a", flows=nothing),
        searched_before="",
        command="sartorius tune",
        ensemble="e.yaml",
    )
    settings = SimpleNamespace(tuned=tuned)
    refuse_searched_on(tmp_path, settings, SimpleNamespace(sources=found(starter="b", flows=nothing)))
    with pytest.raises(UserError, match="searched on these predictions of starter already"):
        refuse_searched_on(tmp_path, settings, SimpleNamespace(sources=found(starter="a", flows=nothing)))
