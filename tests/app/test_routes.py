import io
import logging

import cv2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from sartorius.app import routes
from sartorius.app.routes import SafeHeaders, add_routes


@pytest.fixture
def client(visit) -> TestClient:
    app = FastAPI()
    app.add_middleware(SafeHeaders)
    add_routes(app, visit.store)
    return TestClient(app)


def test_the_server_says_that_it_is_well(client):
    assert client.get("/health").json() == {"status": "ok"}


def test_nothing_may_be_loaded_from_elsewhere(client):
    policy = client.get("/health").headers["content-security-policy"]
    assert policy.startswith("default-src 'self' data: blob:")
    assert "http" not in policy


def test_a_picture_is_the_image_and_kept_by_nobody(client, visit):
    answer = client.get(f"/session/{visit.session.token}/image/well")
    assert Image.open(io.BytesIO(answer.content)).size == (160, 120)
    assert answer.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize(("size_hw", "shown_wh"), [((1, 10_000), (4096, 1)), ((10_000, 1), (1, 4096))])
def test_the_picture_of_a_long_line_is_a_line(client, visit, tmp_path, size_hw, shown_wh):
    visit.session.images["line"] = tmp_path / "line.png"
    cv2.imwrite(str(tmp_path / "line.png"), np.zeros(size_hw, np.uint8))
    answer = client.get(f"/session/{visit.session.token}/image/line")
    assert Image.open(io.BytesIO(answer.content)).size == shown_wh


def test_a_file_comes_under_its_name_and_leaves_nothing_behind(client, visit):
    before = sorted(visit.session.folder.iterdir())
    answer = client.get(f"/session/{visit.session.token}/file/cells")
    assert answer.status_code == 200
    assert 'filename="cells.csv"' in answer.headers["content-disposition"]
    assert answer.text.startswith("image_id,")
    assert sorted(visit.session.folder.iterdir()) == before


def test_a_fault_while_a_file_is_written_is_told_and_logged_and_leaves_nothing_behind(
    client, visit, monkeypatch, caplog
):
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("by a bug")

    monkeypatch.setattr(routes, "write_download", fail)
    before = sorted(visit.session.folder.iterdir())
    with caplog.at_level(logging.ERROR, logger="sartorius"):
        answer = client.get(f"/session/{visit.session.token}/file/pictures")
    assert answer.status_code == 500
    assert answer.text.startswith("The program failed on this file")
    assert "by a bug" in caplog.text
    assert sorted(visit.session.folder.iterdir()) == before


@pytest.mark.parametrize(
    "path", ["image/other", "image/..%2F..%2Fsecret", "file/passwords", "file/..%2Fimages"]
)
def test_what_is_not_of_the_session_is_not_found(client, visit, path):
    before = sorted(visit.session.folder.iterdir())
    assert client.get(f"/session/{visit.session.token}/{path}").status_code == 404
    assert sorted(visit.session.folder.iterdir()) == before


def test_nothing_is_given_without_the_secret(client):
    for path in ("image/well", "file/cells"):
        answer = client.get(f"/session/guess/{path}")
        assert answer.status_code == 404
        assert answer.text.startswith("This session is over")
        assert answer.headers["content-type"].startswith("text/plain")


def test_a_session_that_is_over_gives_nothing(client, visit):
    token = visit.session.token
    visit.store.close()
    assert client.get(f"/session/{token}/image/well").status_code == 404
