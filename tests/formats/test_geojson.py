"""GeoJSON as QuPath writes it, and GeoJSON that is wrong."""

import json

import pytest
from drawing import drawn

from sartorius.errors import UserError
from sartorius.formats import read_any

SQUARE = "...../.##../.##../....."
FEATURE = {
    "type": "Feature",
    "geometry": {"type": "Polygon", "coordinates": [[[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]]},
    "properties": {
        "objectType": "annotation",
        "classification": {"name": "Tumor", "color": [200, 0, 0]},
        "measurements": [{"name": "score", "value": 0.75}],
    },
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"properties": [1]}, r"feature 1: expected `properties` by name, got \[1\]"),
        ({"image": {"height": -4, "width": 5}}, "expected height and width in whole pixels, got -4 and 5"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[10**400, 1]]]}}, "expected a polygon of x, y"),
    ],
)
def test_odd_facts_of_features_are_refused(tmp_path, images, changed, message):
    data = {"type": "FeatureCollection", "features": [FEATURE | changed]} | changed
    (tmp_path / "a.geojson").write_text(json.dumps(data))
    with pytest.raises(UserError, match=message):
        read_any(tmp_path / "a.geojson", images)


def test_measurements_of_odd_names_are_passed_over(tmp_path, images):
    odd = [{"name": [1], "value": 0.1}, {"name": "score", "value": 0.75}, {"name": {}, "value": 0.2}]
    (tmp_path / "a.geojson").write_text(json.dumps(FEATURE | {"properties": {"measurements": odd}}))
    assert read_any(tmp_path / "a.geojson", images)["a"].scores.tolist() == [0.75]


@pytest.mark.parametrize("score", [87, "0.4", None, -0.5])
@pytest.mark.parametrize("in_list", [False, True])
def test_a_measurement_that_is_no_score_is_refused(tmp_path, images, score, in_list):
    measurements = [{"name": "score", "value": score}] if in_list else {"score": score}
    (tmp_path / "a.geojson").write_text(
        json.dumps([FEATURE | {"properties": {"measurements": measurements}}])
    )
    with pytest.raises(UserError, match=f"feature 1: expected a score from 0 to 1, got {score!r}"):
        read_any(tmp_path / "a.geojson", images)


@pytest.mark.parametrize("properties", [{}, {"measurements": {}}, {"measurements": {"Area": 87}}])
def test_a_feature_without_a_score_is_sure(tmp_path, images, properties):
    (tmp_path / "a.geojson").write_text(json.dumps([FEATURE | {"properties": properties}]))
    assert read_any(tmp_path / "a.geojson", images)["a"].scores.tolist() == [1]


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        ([[1, 1], [3, 3], [1, 1]], "boxes are no outlines"),
        ([[1, 1], [3, 3]], "boxes are no outlines"),
        (
            [[90, 90], [95, 90], [95, 95], [90, 90]],
            r"\(height and width \(4, 5\)\), but none of it lies there",
        ),
        ([[0, 0], [1e300, 0], [1e300, 1e300], [0, 0]], r"got the coordinate 1e\+300"),
    ],
)
def test_a_feature_whose_outline_is_none_of_the_image_is_refused(tmp_path, images, ring, message):
    geometry = {"type": "Polygon", "coordinates": [ring]}
    (tmp_path / "a.geojson").write_text(json.dumps([FEATURE, FEATURE | {"geometry": geometry}]))
    with pytest.raises(UserError, match=f"feature 2: expected .*{message}"):
        read_any(tmp_path / "a.geojson", images)


@pytest.mark.parametrize("data", [[FEATURE], FEATURE, {"type": "FeatureCollection", "features": [FEATURE]}])
def test_qupaths_exports_are_read_in_each_of_their_forms(tmp_path, images, data):
    (tmp_path / "a.geojson").write_text(json.dumps(data))
    found = read_any(tmp_path / "a.geojson", images)["a"]
    assert (drawn(found), found.cell_types.tolist(), found.scores.tolist()) == ([SQUARE], ["Tumor"], [0.75])


@pytest.mark.parametrize(
    ("geometry", "message"),
    [({"type": "Point", "coordinates": [1, 2]}, "got a Point"), (None, "expected a polygon of x, y"),
     ({"type": "Polygon", "coordinates": [[["x", 2]]]}, "expected a polygon of x, y")],
)  # fmt: skip
def test_a_feature_that_is_no_polygon_is_refused(tmp_path, images, geometry, message):
    (tmp_path / "a.geojson").write_text(json.dumps([FEATURE | {"geometry": geometry}]))
    with pytest.raises(UserError, match=f"feature 1: .*{message}"):
        read_any(tmp_path / "a.geojson", images)


def test_a_type_that_qupath_derived_from_another_is_named_as_qupath_names_it(tmp_path, images):
    derived = {"names": ["Tumor", "Positive"], "color": [200, 0, 0]}
    (tmp_path / "a.geojson").write_text(json.dumps([FEATURE | {"properties": {"classification": derived}}]))
    assert read_any(tmp_path / "a.geojson", images)["a"].cell_types.tolist() == ["Tumor: Positive"]
