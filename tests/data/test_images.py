import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from sartorius.data.images import list_images, read_image
from sartorius.errors import UserError

PICTURE = np.array([[0, 50, 100], [150, 200, 255]], dtype=np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (64, 48), dtype=np.uint8)


def encoded(ending: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(ending, pixels)[1].tobytes()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def in_colour(pixels: np.ndarray, channels: int) -> np.ndarray:
    return np.repeat(pixels[:, :, None], channels, axis=2)


@pytest.mark.parametrize("pixels", [PICTURE, PICTURE.astype(np.uint16) * 257], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_the_same_picture_in_every_container_reads_the_same(tmp_path, ending, channels, pixels):
    shaped = pixels if channels == 1 else in_colour(pixels, channels)
    read = read_image(written(tmp_path / f"a{ending}", encoded(ending, shaped)))
    assert read.dtype == np.uint8
    assert read.tolist() == PICTURE.tolist()


def test_a_grey_jpeg_keeps_its_shape_and_about_its_brightness(tmp_path):
    flat = np.full((20, 30), 90, dtype=np.uint8)
    read = read_image(written(tmp_path / "a.jpg", encoded(".jpg", flat)))
    assert read.shape == (20, 30)
    assert abs(read.astype(int) - 90).max() <= 2


def test_colour_is_weighted_as_the_eye_does(tmp_path):
    red, green, blue = ([[[0, 0, 255]]], [[[0, 255, 0]]], [[[255, 0, 0]]])
    greys = [
        int(read_image(written(tmp_path / "a.png", encoded(".png", np.array(colour, np.uint8))))[0, 0])
        for colour in (red, green, blue)
    ]
    assert greys == [76, 150, 29]


@pytest.mark.parametrize(
    ("highest", "full_range"),
    [(255, 255), (256, 1023), (4095, 4095), (4096, 16383), (16384, 65535), (65535, 65535)],
)
def test_sixteen_bits_are_divided_by_the_range_the_camera_filled(tmp_path, highest, full_range):
    pixels = np.array([[0, highest]], dtype=np.uint16)
    read = read_image(written(tmp_path / "a.tif", tiff(pixels)))
    assert read.tolist() == [[0, round(highest / full_range * 255)]]


def test_a_black_sixteen_bit_image_is_black(tmp_path):
    assert read_image(written(tmp_path / "a.png", encoded(".png", np.zeros((2, 2), np.uint16)))).max() == 0


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused_by_name(tmp_path, ending, kept):
    data = encoded(ending, NOISE)
    path = written(tmp_path / f"cut{ending}", data[: int(len(data) * kept)])
    with pytest.raises(UserError, match=rf"cut{ending}: expected a whole PNG, JPEG or TIFF"):
        read_image(path)


def test_a_strip_tiff_without_its_last_pixels_is_refused(tmp_path):
    data = tiff(NOISE)
    with pytest.raises(UserError, match="pixels are missing"):
        read_image(written(tmp_path / "a.tif", data[:-1]))


def test_a_png_with_one_changed_byte_is_refused(tmp_path):
    data = bytearray(encoded(".png", NOISE))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UserError, match="damaged: the checksum"):
        read_image(written(tmp_path / "a.png", bytes(data)))


def test_the_end_mark_of_a_thumbnail_does_not_make_a_cut_jpeg_whole(tmp_path):
    data = encoded(".jpg", NOISE)
    with_thumbnail = data[:2] + b"\xff\xe1\x00\x06\xff\xd9\xff\xd9" + data[2:]
    assert read_image(written(tmp_path / "whole.jpg", with_thumbnail)).shape == NOISE.shape
    with pytest.raises(UserError, match="end mark is missing"):
        read_image(written(tmp_path / "cut.jpg", with_thumbnail[:-20]))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"id,annotation\n", "begins with"),
        (tiff(np.zeros((2, 2), np.float32)), "type float32"),
        (tiff(np.zeros((3, 4, 5), np.uint8), photometric="minisblack"), "has 3 pages"),
        (b"II*\0\xff\xff\xff\x7f", "cut short or damaged"),
    ],
    ids=["empty", "text", "float", "stack", "head only"],
)
def test_what_is_no_single_image_of_bytes_is_refused(tmp_path, data, what):
    with pytest.raises(UserError, match=what):
        read_image(written(tmp_path / "a.tiff", data))


def test_a_folder_and_a_missing_file_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="this is a folder"):
        read_image(tmp_path)
    with pytest.raises(UserError, match=r"b\.png: no such image"):
        read_image(tmp_path / "b.png")


def test_images_are_listed_by_id_in_order_whatever_their_ending(tmp_path):
    for name in ("b.PNG", "a.tif", "ç.jpg", "c.d.png", ".hidden.png", "notes.txt"):
        written(tmp_path / name, b"")
    (tmp_path / "folder.png").mkdir()
    assert list(list_images(tmp_path)) == ["a", "b", "c.d", "ç"]
    assert list_images(tmp_path)["b"] == tmp_path / "b.PNG"


def test_two_files_with_one_id_are_refused(tmp_path):
    written(tmp_path / "a.png", b"")
    written(tmp_path / "a.tif", b"")
    with pytest.raises(UserError, match=r"a\.png and a\.tif would both be image 'a'"):
        list_images(tmp_path)


def test_a_folder_without_images_names_the_folders_inside_it(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="found none; it has the folders train"):
        list_images(tmp_path)
    with pytest.raises(UserError, match="nothing there"):
        list_images(tmp_path / "nowhere")


def test_compressed_tiffs_of_livecell_are_read(competition_dir):
    path = next((competition_dir.parent / "livecell_examples").glob("*.tif"))
    read = read_image(path)
    assert read.shape == (520, 704)
    assert 100 < read.mean() < 160
