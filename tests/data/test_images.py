import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from sartorius.data.images import image_paths, image_size_hw, list_images, read_grey, read_image
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
        (tiff(np.array([[0, np.nan]], np.float32)), "pixels are not all numbers"),
        (tiff(np.zeros((2, 2), np.complex64)), "type complex64"),
        (tiff(np.zeros((3, 4, 5), np.uint8), photometric="minisblack"), "has 3 planes; name one of them"),
        (b"II*\0\xff\xff\xff\x7f", "cut short or damaged"),
    ],
    ids=["empty", "text", "undefined", "complex", "stack", "head only"],
)
def test_what_is_no_single_image_of_numbers_is_refused(tmp_path, data, what):
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


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_size_is_told_without_decoding_a_pixel(tmp_path, ending, channels):
    data = encoded(ending, NOISE if channels == 1 else in_colour(NOISE, channels))
    head_only = data if ending == ".tif" else data[:-20]  # which cannot be decoded
    assert image_size_hw(written(tmp_path / f"a{ending}", head_only)) == NOISE.shape


def test_a_file_without_a_size_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"a\.png: expected a whole PNG, JPEG or TIFF image, but its head tells no"
    ):
        image_size_hw(written(tmp_path / "a.png", encoded(".png", NOISE)[:20]))


@pytest.mark.parametrize(
    ("data", "came"), [(b"", r"is empty \(0 bytes\)"), (b"text", "begins with b'text', as none of them does")]
)
def test_the_size_of_what_is_no_image_is_refused_as_its_pixels_are(tmp_path, data, came):
    path = written(tmp_path / "a.png", data)
    for read in (image_size_hw, read_image):
        with pytest.raises(UserError, match=f"but the file {came}"):
            read(path)


def test_measurements_get_the_files_own_grey_values(tmp_path):
    values = np.array([[0, 1000], [2000, 3000]], dtype=np.uint16)
    grey = read_grey(written(tmp_path / "a.tif", tiff(values)))
    assert grey.dtype == np.uint16
    assert grey.tolist() == values.tolist()


STACK = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)


def write_stack(path: Path, kind: str) -> None:
    options = {
        "plain": {"photometric": "minisblack"},
        "ome": {"ome": True, "photometric": "minisblack", "metadata": {"axes": "TZYX"}},
        "imagej": {"imagej": True, "metadata": {"axes": "TZYX"}},
        "deflate": {"photometric": "minisblack", "compression": "zlib"},
        "big endian": {"photometric": "minisblack", "byteorder": ">"},
    }
    tifffile.imwrite(path, STACK, **options[kind])


@pytest.mark.parametrize("kind", ["plain", "ome", "imagej", "deflate", "big endian"])
def test_each_plane_of_a_stack_is_an_image_of_its_own(tmp_path, kind):
    write_stack(tmp_path / "well.ome.tif", kind)
    paths = list_images(tmp_path)
    assert list(paths) == [f"well.ome_p00{plane}" for plane in range(1, 7)]
    assert paths["well.ome_p003"] == tmp_path / "well.ome.tif" / "p003"
    assert np.array_equal([read_grey(path) for path in paths.values()], STACK.reshape(6, 4, 5))
    assert image_size_hw(paths["well.ome_p006"]) == (4, 5)


def test_a_large_imagej_stack_has_all_its_pixels_behind_one_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], imagej=True, metadata={"axes": "ZYX"})
    one_page = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff_file:
        first = tiff_file.pages[0]
        next_page_at = first.offset + 2 + 12 * len(first.tags)
        order = tiff_file.byteorder
    one_page[next_page_at : next_page_at + 4] = np.array([0], order + "u4").tobytes()
    written(tmp_path / "a.tif", bytes(one_page))
    found = [read_grey(path) for path in list_images(tmp_path).values()]
    assert np.array_equal(found, STACK[0])


def test_the_planes_of_a_stack_share_black_and_white(tmp_path):
    planes = np.array([[[0, 100]], [[0, 4000]]], dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack")
    dim, bright = (read_image(path).tolist() for path in list_images(tmp_path).values())
    assert (dim, bright) == ([[0, 6]], [[0, 249]])
    assert read_image(written(tmp_path / "b.tif", tiff(planes[0]))).tolist() == [[0, 100]]


def test_colour_pictures_in_a_stack_stay_pictures(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", in_colour(NOISE, 3)[None].repeat(2, axis=0), photometric="rgb")
    assert [read_image(path).tolist() for path in list_images(tmp_path).values()] == [NOISE.tolist()] * 2


def test_a_picture_stored_colour_by_colour_reads_as_one(tmp_path):
    planes = np.stack([NOISE, NOISE, NOISE])
    path = written(tmp_path / "a.tif", tiff(planes, photometric="rgb", planarconfig="separate"))
    assert list(image_paths(path)) == ["a"]
    assert read_image(path).tolist() == NOISE.tolist()


def test_the_planes_of_an_lzw_stack_are_read(tmp_path):
    cv2.imwritemulti(str(tmp_path / "a.tif"), [NOISE, 255 - NOISE], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    found = [read_image(path).tolist() for path in list_images(tmp_path).values()]
    assert found == [NOISE.tolist(), (255 - NOISE).tolist()]


@pytest.mark.parametrize("name", ["p000", "p003"])
def test_a_plane_that_is_not_there_is_refused(tmp_path, name):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, :2], photometric="minisblack")
    with pytest.raises(UserError, match=rf"a\.tif/{name}: the file has 2 planes, counted from 1"):
        read_image(tmp_path / "a.tif" / name)


def test_a_stack_and_a_file_named_like_its_plane_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], photometric="minisblack")
    written(tmp_path / "a_p002.png", b"")
    with pytest.raises(UserError, match="would both be image 'a_p002'"):
        list_images(tmp_path)


def test_a_name_that_is_not_utf_8_is_refused_in_words_that_can_be_printed(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded(".png", np.zeros((2, 2), np.uint8)))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(
        UserError, match=r"caf\\xe9\.png: expected a file name in UTF-8, got other bytes; rename it"
    ):
        list_images(tmp_path)
