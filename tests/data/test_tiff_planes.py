"""Kinds of pixels in TIFF files: what has one brightness is read, whatever its kind; what has none is refused."""

import logging
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from sartorius.data.images import list_images, read_grey, read_image
from sartorius.data.tiff_planes import _silent
from sartorius.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (64, 48), dtype=np.uint8)


def written(folder: Path, pixels: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(folder / "a.tif", pixels, **options)
    return folder / "a.tif"


def channels_of(count: int, planarconfig: str, dtype: type = np.uint8) -> np.ndarray:
    return np.stack([NOISE.astype(dtype)] * count, axis=2 if planarconfig == "contig" else 0)


@pytest.fixture
def only_opencv_decodes(monkeypatch) -> None:
    """As with LZW, which tifffile cannot write or read by itself."""

    def refuse(page: object) -> None:
        raise ValueError("requires the imagecodecs package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)


NEGATIVES = pytest.mark.parametrize(
    "negative",
    [
        255 - NOISE,
        65535 - NOISE.astype(np.uint16) * 257,
        1 - NOISE.astype(np.float32) / 255,
        254 - NOISE.astype(np.int16),
    ],
    ids=["8 bit", "16 bit", "fractions", "signed"],
)


@NEGATIVES
def test_a_negative_is_turned(tmp_path, negative):
    assert read_image(written(tmp_path, negative, photometric="miniswhite")).tolist() == NOISE.tolist()


@NEGATIVES
@pytest.mark.usefixtures("only_opencv_decodes")
def test_a_negative_that_opencv_decodes_is_turned_once(tmp_path, negative):
    assert read_image(written(tmp_path, negative, photometric="miniswhite")).tolist() == NOISE.tolist()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_colours_of_prints_and_videos_become_grey_as_in_a_jpeg(tmp_path, mode, compression):
    flat = Image.new("RGB", (32, 16), (200, 100, 50)).convert(mode)
    flat.save(tmp_path / "a.tif", compression=compression)
    flat.save(tmp_path / "b.jpg", quality=100)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].photometric == {"CMYK": 5, "YCbCr": 6}[mode]
    brightness = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    for path in list_images(tmp_path).values():
        assert np.abs(read_image(path) - brightness).max() <= 2, path


@pytest.mark.parametrize(
    ("count", "photometric", "name"),
    [(4, "separated", "CMYK"), (3, "ycbcr", "YCbCr"), (3, "cielab", "CIELAB"), (1, "cfa", "CFA")],
)
def test_colours_that_cannot_be_converted_are_refused_by_name(tmp_path, count, photometric, name):
    pixels = channels_of(count, "contig", np.uint16) if count > 1 else NOISE
    path = written(tmp_path, pixels, photometric=photometric)
    with pytest.raises(UserError, match=rf"a\.tif: .* the file has {name} pixels; save as RGB or grey$"):
        read_image(path)


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_damaged_byte_among_compressed_pixels_is_told(tmp_path, compression):
    path = written(tmp_path, NOISE, compression=compression)
    with tifffile.TiffFile(path) as file:
        (start,), (length,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    damaged = bytearray(path.read_bytes())
    damaged[start + length // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.tif: .* the file is cut short or damaged: "):
        read_image(path)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize(("count", "photometric"), [(2, "minisblack"), (3, "minisblack"), (5, "rgb")])
def test_several_channels_in_one_page_are_refused(tmp_path, count, photometric, planarconfig):
    pixels = channels_of(count, planarconfig)
    path = written(tmp_path, pixels, photometric=photometric, planarconfig=planarconfig)
    with pytest.raises(UserError, match=rf"the file has {count} channels in one page; save one channel$"):
        read_image(path)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_the_transparency_of_a_grey_picture_is_ignored(tmp_path, planarconfig):
    pixels = channels_of(2, planarconfig)
    pixels[(..., 1) if planarconfig == "contig" else 1] = 0
    options = {"photometric": "minisblack", "planarconfig": planarconfig, "extrasamples": ["unassalpha"]}
    assert read_image(written(tmp_path, pixels, **options)).tolist() == NOISE.tolist()


def test_a_plane_of_several_channels_is_told_whichever_plane_of_its_stack_is_read(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(NOISE.astype(np.uint16), photometric="minisblack")
        writer.write(channels_of(2, "separate"), photometric="minisblack", planarconfig="separate")
    for path in list_images(tmp_path).values():
        with pytest.raises(UserError, match=r"has 2 channels in one page; save one channel$"):
            read_image(path)


@pytest.mark.usefixtures("only_opencv_decodes")
def test_sixteen_bit_colours_stored_one_by_one_which_opencv_mixes_up_are_refused(tmp_path):
    pixels = channels_of(3, "separate", np.uint16)
    with pytest.raises(UserError, match="cannot be decoded"):
        read_image(written(tmp_path, pixels, photometric="rgb", planarconfig="separate"))


def test_every_plane_of_a_large_imagej_colour_stack_becomes_grey(tmp_path):
    colours = np.stack([NOISE, 255 - NOISE])[..., None].repeat(3, axis=3)
    path = written(tmp_path, colours, imagej=True, metadata={"axes": "ZYXS"})
    one_page = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        next_page_at = file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
    one_page[next_page_at : next_page_at + 4] = bytes(4)
    path.write_bytes(one_page)
    found = [read_grey(plane) for plane in list_images(tmp_path).values()]
    assert np.array_equal(found, colours[..., 0])


def ome_xml(files: dict[str, int]) -> str:
    """What each file of an OME-TIFF set says of all of them, by name and number of planes."""
    places, first = [], 0
    for name, count in files.items():
        uuid = f'<UUID FileName="{name}">urn:uuid:{name}</UUID>'
        places += [
            f'<TiffData IFD="{ifd}" FirstT="{first + ifd}" PlaneCount="1">{uuid}</TiffData>'
            for ifd in range(count)
        ]
        first += count
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="48" SizeY="64" SizeC="1" SizeZ="1" '
        f'SizeT="{first}"><Channel ID="Channel:0" SamplesPerPixel="1"/>{"".join(places)}</Pixels></Image></OME>'
    )


def write_ome_set(folder: Path, compression: str, **planes: list[np.ndarray]) -> None:
    files = {f"{name}.ome.tif": pictures for name, pictures in planes.items()}
    text = ome_xml({name: len(pictures) for name, pictures in files.items()})
    for name, pictures in files.items():
        first, *others = (Image.fromarray(picture) for picture in pictures)
        options = {"compression": compression, "tiffinfo": {270: text}}
        first.save(folder / name, save_all=True, append_images=others, **options)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_each_file_of_a_set_has_its_own_planes_alone(tmp_path, compression):
    long = [NOISE, 255 - NOISE, NOISE // 2]
    write_ome_set(tmp_path, compression, long=long, short=[NOISE // 3])
    with tifffile.TiffFile(tmp_path / "short.ome.tif") as file:
        assert file.series[0].is_multifile
    found = {image_id: read_grey(path).tolist() for image_id, path in list_images(tmp_path).items()}
    expected = {f"long.ome_p{plane:03}": picture for plane, picture in enumerate(long, start=1)}
    assert found == {name: p.tolist() for name, p in (expected | {"short.ome": NOISE // 3}).items()}


def test_a_copy_of_a_file_that_names_the_original_has_planes(tmp_path):
    write_ome_set(tmp_path, "raw", a=[NOISE, 255 - NOISE])
    (tmp_path / "copy.tif").write_bytes((tmp_path / "a.ome.tif").read_bytes())
    found = {image_id: read_grey(path).tolist() for image_id, path in list_images(tmp_path).items()}
    pictures = [NOISE.tolist(), (255 - NOISE).tolist()] * 2
    assert found == dict(zip(["a.ome_p001", "a.ome_p002", "copy_p001", "copy_p002"], pictures, strict=True))


def test_files_read_in_two_threads_at_once_leave_the_librarys_messages_as_they_were(caplog):
    first, second = _silent(), _silent()
    with ExitStack() as one, ExitStack() as other:
        one.enter_context(first)
        other.enter_context(second)
        one.close()
        logging.getLogger("tifffile").warning("inside")
    logging.getLogger("tifffile").warning("after")
    assert caplog.messages == ["after"]


def test_a_file_whose_head_tells_a_picture_without_lines_is_damaged(tmp_path):
    path = written(tmp_path, NOISE)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(0)
    assert list(list_images(tmp_path)) == ["a"]
    with pytest.raises(UserError, match=r"a\.tif: .* cut short or damaged"):
        read_image(path)


def test_a_file_whose_head_tells_a_picture_larger_than_memory_is_damaged(tmp_path, monkeypatch):
    path = written(tmp_path, NOISE)

    def too_large(page: object) -> None:
        raise MemoryError("Unable to allocate 318. GiB")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", too_large)
    with pytest.raises(UserError, match=r"a\.tif: .* cut short or damaged"):
        read_image(path)


def test_tags_that_only_a_camera_knows_are_read_in_silence(tmp_path, capfd):
    Image.fromarray(NOISE).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={50838: 7})
    assert read_image(tmp_path / "a.tif").tolist() == NOISE.tolist()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "options", [{"imagej": True}, {"photometric": "minisblack"}], ids=["ImageJ", "shaped"]
)
def test_a_plane_is_read_without_the_heads_of_all_others(tmp_path, monkeypatch, options):
    planes = np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    path = written(tmp_path, planes, **options)
    heads = []
    begin = tifffile.TiffPage.__init__

    def counted(page: object, *arguments: object, **named: object) -> None:
        heads.append(page)
        begin(page, *arguments, **named)

    monkeypatch.setattr(tifffile.TiffPage, "__init__", counted)
    assert read_image(path / "p041").tolist() == planes[40].tolist()
    assert len(heads) < 10
