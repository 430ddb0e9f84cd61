"""Profile, EXIF, XMP, density and orientation survive an enlargement; read back by Pillow and tifffile."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from karaffe.imaging import Window, open_reader, upscale, upscale_file
from karaffe.imaging.exif import orientation, upright_exif, upright_xmp
from karaffe.imaging.orientation import stored_window, swaps, upright

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="t"/></x:xmpmeta>'
SUFFIXES = [".png", ".jpg", ".webp", ".tif"]


def save(path: Path, pixels: np.ndarray, profile: bytes, exif: bytes, how: int = 1) -> Path:
    """Write a file with all metadata by Pillow or tifffile, not by the code under test."""
    image = Image.fromarray(pixels)
    if path.suffix == ".tif":
        data = Image.Exif()
        data.load(b"Exif\0\0" + exif)
        image.save(path, icc_profile=profile, exif=data, dpi=(240, 200))
    else:
        options = {".jpg": {"quality": 95, "subsampling": 0}, ".webp": {"lossless": True}}.get(path.suffix, {})
        image.save(path, icc_profile=profile, exif=b"Exif\0\0" + exif, dpi=(240, 200), **options)
    return path


@pytest.mark.parametrize(("source", "target"), list(itertools.product(SUFFIXES, SUFFIXES)))
def test_metadata_is_kept_between_formats(tmp_path, picture, profile, exif, source, target):
    a = save(tmp_path / f"a{source}", picture, profile, exif(1))
    b = tmp_path / f"b{target}"
    upscale_file(a, b, 2, "bicubic")
    with Image.open(b) as image:
        image.load()
        assert image.size == (122, 90)
        assert image.info["icc_profile"] == profile
        data = image.getexif()
        assert data[271] == "Kamera AG"
        assert data[33432] == "Jane Doe"
        assert data.get(274, 1) == 1
        details, position = data.get_ifd(0x8769), data.get_ifd(0x8825)
        assert float(details[33434]) == pytest.approx(0.008)
        assert details[36867] == "2026:01:02 03:04:05"
        assert (details[0xA002], details[0xA003]) == (122, 90)
        assert [float(v) for v in position[2]] == [47.0, 22.0, 30.0]
        if ".webp" not in (source, target):
            assert image.info["dpi"] == pytest.approx((240, 200), abs=0.5)


@pytest.mark.parametrize(("suffix", "how"), list(itertools.product(SUFFIXES, range(1, 9))))
def test_orientation_is_applied_once(tmp_path, picture, profile, exif, suffix, how):
    a = save(tmp_path / f"a{suffix}", picture, profile, exif(how))
    with Image.open(a) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    with open_reader(a) as reader:
        np.testing.assert_array_equal(reader.read(), expected)
        window = Window(4, 9, 20, 15)
        np.testing.assert_array_equal(reader.read(window), window.of(expected))
        dpi = (200, 240) if swaps(how) else (240, 200)
        if suffix != ".webp":
            assert reader.info.dpi == pytest.approx(dpi, abs=0.5)
    b, c = tmp_path / f"b{suffix}", tmp_path / "c.png"
    upscale_file(a, b, 1)
    upscale_file(b, c, 1)
    for path in (b, c):
        with Image.open(path) as image:
            assert image.getexif().get(274, 1) == 1
            assert image.size == expected.shape[1::-1]
            difference = np.abs(np.asarray(image).astype(int) - expected)
            assert difference.mean() < 5 if suffix == ".jpg" else difference.max() == 0


@pytest.mark.parametrize("how", range(1, 9))
def test_stored_window_is_the_inverse_of_upright(how):
    stored = np.arange(7 * 5).reshape(7, 5)
    seen = upright(stored, how)
    for top, left, height, width in [(0, 0, 2, 3), (1, 2, 3, 2), (0, 0, *seen.shape)]:
        window = Window(top, left, height, width)
        part = stored_window(window, how, *seen.shape)
        np.testing.assert_array_equal(upright(part.of(stored), how), window.of(seen))


@pytest.mark.parametrize("order", ["II", "MM"])
def test_exif_is_edited_in_place(exif, order):
    block = exif(6)
    if order == "MM":
        data = Image.Exif()
        data.load(b"Exif\0\0" + block)
        data.endian = ">"
        block = data.tobytes().removeprefix(b"Exif\0\0")
        assert block[:2] == b"MM"
    assert orientation(block) == 6
    edited = upright_exif(block, 70_000, 37)
    assert len(edited) == len(block)
    assert orientation(edited) == 1
    data = Image.Exif()
    data.load(b"Exif\0\0" + edited)
    assert data.get_ifd(0x8769)[0xA002] == 70_000
    assert data[271] == "Kamera AG"


@pytest.mark.parametrize(
    "damage", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"XX*\0\x08\0\0\0", b"II*\0\x08\0\0\0\xff\xff"]
)
def test_damaged_exif_is_no_orientation(damage):
    assert orientation(damage) == 1
    assert upright_exif(damage, 3, 4) == damage


def test_xmp_is_kept_and_upright(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.jpg", xmp=XMP)
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        b = tmp_path / f"b{suffix}"
        upscale_file(tmp_path / "a.jpg", b, 1)
        if suffix == ".tif":
            with tifffile.TiffFile(b) as file:
                found = bytes(file.pages[0].tags[700].value)
        else:
            with Image.open(b) as image:
                image.load()
                found = image.info["xmp"]
                assert image.size == (45, 61), "XMP says 6, nothing else does"
        assert found == upright_xmp(XMP)
        assert b'tiff:Orientation="1"' in found


def test_png_texts_and_gamma_are_kept(tmp_path, picture):
    texts = PngInfo()
    texts.add_text("Title", "a boat")
    texts.add_itxt("Comment", "ein Boot", "de", "Kommentar")
    texts.add(b"gAMA", (45455).to_bytes(4, "big"))
    Image.fromarray(picture).save(tmp_path / "a.png", pnginfo=texts)
    upscale_file(tmp_path / "a.png", tmp_path / "b.png", 2, "nearest")
    with Image.open(tmp_path / "b.png") as image:
        assert image.text == {"Title": "a boat", "Comment": "ein Boot"}
        assert image.info["gamma"] == 0.45455


def test_png_exif_behind_the_pixels_is_found(tmp_path, picture, exif):
    import struct
    import zlib

    Image.fromarray(picture).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    block = exif(6)
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk + data[-12:])
    with open_reader(tmp_path / "a.png") as reader:
        assert (reader.info.height, reader.info.width) == (61, 45)
        np.testing.assert_array_equal(reader.read(), upright(picture, 6))


def test_tiff_texts_iptc_and_centimetres(tmp_path, picture):
    iptc = b"\x1c\x02\x05\x00\x04boat"
    tifffile.imwrite(
        tmp_path / "a.tif", picture, photometric="rgb", description="a boat", metadata=None,
        resolution=(100, 100), resolutionunit="centimeter", extratags=[(33723, 7, len(iptc), iptc, True)],
    )  # fmt: skip
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 2, "nearest")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        tags = file.pages[0].tags
        assert tags["ImageDescription"].value == "a boat"
        assert bytes(tags[33723].value) == iptc
        assert tags["XResolution"].value[0] / tags["XResolution"].value[1] == pytest.approx(254)


def test_pillow_images_keep_their_mode_and_notes(picture, profile, exif):
    image = Image.fromarray(picture)
    image.info.update({"icc_profile": profile, "exif": exif(6), "dpi": (72, 72)})
    result = upscale(image, 2, "bicubic")
    assert (result.mode, result.size) == ("RGB", (122, 90))
    assert result.info == image.info
