"""Every format gives back what was written, to the bit, whole and in windows; independent libraries agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tifffile
from PIL import Image

from karaffe.errors import ArgumentError, FileError, ShapeError
from karaffe.imaging import Reader, Window, Writer, open_reader, open_writer, upscale_file

TIFF_TYPES = ["uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"]
CASES = [
    *((".png", c, a, d, 0) for c, a, d in itertools.product(["grey", "rgb"], [0, 1], ["uint8", "uint16"])),
    (".png", "grey", 0, "uint8", 1),
    *((".webp", "rgb", a, "uint8", 0) for a in (0, 1)),
    *((".tif", c, a, d, 0) for c, a, d in itertools.product(["grey", "rgb", "cmyk"], [0, 1], TIFF_TYPES)),
    *((".tif", "bands", 0, d, 0) for d in TIFF_TYPES),
    (".tif", "grey", 0, "uint8", 1),
]
DECLARED = ["width", "height", "bands", "dtype", "bits", "colour", "has_alpha", "value_range", "frames"]


def load(path, mode=None):
    with Image.open(path) as image:
        return np.asarray(image.convert(mode) if mode else image)


def assert_equal_file(path, info, frames):
    with open_reader(path) as reader:
        assert isinstance(reader, Reader)
        assert {k: getattr(reader.info, k) for k in DECLARED} == {k: getattr(info, k) for k in DECLARED}
        for frame in range(info.frames):
            np.testing.assert_array_equal(reader.read(frame=frame), frames[frame])
            window = Window(3, 7, info.height - 6, info.width - 9)
            np.testing.assert_array_equal(reader.read(window, frame), window.of(frames[frame]))
            corner = Window(info.height - 1, info.width - 1, 1, 1)
            np.testing.assert_array_equal(reader.read(corner, frame), corner.of(frames[frame]))


@pytest.mark.parametrize(("suffix", "colour", "alpha", "dtype", "bits"), CASES)
def test_round_trip_is_exact(tmp_path, make, write, suffix, colour, alpha, dtype, bits):
    info, frames = make(colour, bool(alpha), dtype, bits or None)
    path = write(tmp_path / f"a{suffix}", info, frames)
    assert_equal_file(path, info, frames)
    again = tmp_path / f"b{suffix}"
    upscale_file(path, again, 1)
    assert_equal_file(again, info, frames)


@pytest.mark.parametrize("compression", [1, 5, 8, 50000])
@pytest.mark.parametrize("frames", [1, 3])
def test_tiff_pages_and_compressions(tmp_path, make, write, compression, frames):
    info, pixels = make("rgb", False, "uint16", frames=frames, format="tiff", extras={"compression": compression})
    path = write(tmp_path / "a.tif", info, pixels)
    assert_equal_file(path, info, pixels)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == frames
        assert int(file.pages[0].compression) == compression
    np.testing.assert_array_equal(tifffile.imread(path), pixels if frames > 1 else pixels[0])


@pytest.mark.parametrize(
    ("dtype", "bits"), [("uint8", 8), ("uint8", 1), ("uint16", 12), ("uint16", 16), ("float32", 32)]
)
@pytest.mark.parametrize("size", [(700, 300), (256, 512), (1, 70_000), (513, 257)])
@pytest.mark.parametrize("step", [17, 300])
def test_tiff_of_many_tiles(tmp_path, make, write, dtype, bits, size, step):
    info, _ = make("grey", False, dtype, bits, frames=2)
    info = info.with_size(*size)
    rng = np.random.default_rng(0)
    frames = (rng.random((2, *size, 1)) * (1 if dtype == "float32" else 2**bits)).astype(dtype)
    path = write(tmp_path / "a.tif", info, frames, step)
    with open_reader(path) as reader:
        for frame in range(2):
            np.testing.assert_array_equal(reader.read(frame=frame), frames[frame])
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].is_tiled
        np.testing.assert_array_equal(file.pages[1].asarray(), frames[1, :, :, 0])


@pytest.mark.parametrize("options", [
    {"tile": (16, 32)}, {"planarconfig": "separate"}, {"planarconfig": "separate", "tile": (16, 16)},
    {"bigtiff": True}, {"byteorder": ">"}, {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
    {"compression": "lzw"},
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_layouts_of_others(tmp_path, make, options, dtype):
    info, frames = make("rgb", False, dtype)
    options = dict(options)
    planar = options.get("planarconfig") == "separate"
    top = {k: options.pop(k) for k in ("bigtiff", "byteorder") if k in options}
    with tifffile.TiffWriter(tmp_path / "a.tif", **top) as file:
        file.write(frames[0].transpose(2, 0, 1) if planar else frames[0], photometric="rgb", **options)
    assert_equal_file(tmp_path / "a.tif", info, frames)


def test_tiff_white_is_zero_keeps_stored_values(tmp_path, make):
    info, frames = make("grey", False, "uint8")
    tifffile.imwrite(tmp_path / "a.tif", frames[0, :, :, 0], photometric="miniswhite")
    assert_equal_file(tmp_path / "a.tif", info, 255 - frames)
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 1)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].photometric.name == "MINISWHITE"
        np.testing.assert_array_equal(file.pages[0].asarray(), frames[0, :, :, 0])
    upscale_file(tmp_path / "a.tif", tmp_path / "b.png", 1)
    np.testing.assert_array_equal(load(tmp_path / "b.png"), 255 - frames[0, :, :, 0])


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_bits_that_fill_no_type(tmp_path, photometric):
    """12 bit stay 12 bit where the format can say so, and are spread over 16 where it cannot."""
    stored = np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, bitspersample=12, photometric=photometric)
    seen = stored if photometric == "minisblack" else 4095 - stored
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 1)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert (file.pages[0].bitspersample, file.pages[0].photometric.name) == (12, photometric.upper())
        np.testing.assert_array_equal(file.pages[0].asarray(), stored)
    with open_reader(tmp_path / "b.tif") as reader:
        assert (reader.info.bits, reader.info.value_range) == (12, (0, 4095))
        np.testing.assert_array_equal(reader.read()[:, :, 0], seen)
    upscale_file(tmp_path / "a.tif", tmp_path / "b.png", 1)
    with open_reader(tmp_path / "b.png") as reader:
        back = np.round(reader.read()[:, :, 0] * (4095 / 65535))
        np.testing.assert_array_equal(back, seen)
        assert reader.read().max() == np.round(seen.max() * (65535 / 4095))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tiff_associated_alpha_comes_back_to_the_bit(tmp_path, make, dtype):
    _info, frames = make("rgb", True, dtype)
    top = np.iinfo(dtype).max
    stored = frames[0].astype(np.float64)
    stored[:, :, :3] = np.floor(stored[:, :, :3] * stored[:, :, 3:] / top)
    stored = stored.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    upscale_file(tmp_path / "a.tif", tmp_path / "b.tif", 1)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert [e.name for e in file.pages[0].extrasamples] == ["ASSOCALPHA"]
        np.testing.assert_array_equal(file.pages[0].asarray(), stored)


def test_tiff_palette_is_expanded(tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (3, 256)).astype(np.uint16)
    index = rng.integers(0, 256, (20, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=colours * 257)
    with open_reader(tmp_path / "a.tif") as reader:
        assert (reader.info.colour, reader.info.bands, reader.info.dtype) == ("rgb", 3, np.uint8)
        np.testing.assert_array_equal(reader.read(), colours[:, index].transpose(1, 2, 0))


def test_png_agrees_with_other_readers(tmp_path, make, write):
    import imagecodecs

    info, frames = make("rgb", True, "uint8")
    path = write(tmp_path / "a.png", info, frames, step=1)
    np.testing.assert_array_equal(load(path), frames[0])
    info, frames = make("rgb", True, "uint16")
    path = write(tmp_path / "b.png", info, frames)
    np.testing.assert_array_equal(imagecodecs.png_decode(path.read_bytes()), frames[0])


def test_png_filters_pay(tmp_path, picture, make, write):
    info, _ = make("rgb", False, "uint8", width=61, height=45)
    smooth = np.repeat(np.repeat(picture, 4, 0), 4, 1)
    big = info.with_size(*smooth.shape[:2])
    ours = write(tmp_path / "a.png", big, smooth[None])
    Image.fromarray(smooth).save(tmp_path / "b.png")
    assert ours.stat().st_size < 1.1 * (tmp_path / "b.png").stat().st_size


@pytest.mark.parametrize("mode", ["P", "PA-like", "1", "L+t", "RGB+t"])
def test_png_palettes_and_transparency(tmp_path, mode):
    rng = np.random.default_rng(2)
    if mode == "1":
        image = Image.fromarray(rng.integers(0, 2, (19, 23)).astype(bool))
        image.save(tmp_path / "a.png")
        expected = np.asarray(image.convert("L"))[:, :, None] // 255
    elif mode.startswith("P"):
        image = Image.fromarray(rng.integers(0, 16, (19, 23)).astype(np.uint8), mode="P")
        image.putpalette(rng.integers(0, 256, 48).astype(np.uint8).tobytes())
        options = {} if mode == "P" else {"transparency": bytes([0, 128] + [255] * 14)}
        image.save(tmp_path / "a.png", **options)
        expected = load(tmp_path / "a.png", "RGB" if mode == "P" else "RGBA")
    else:
        shape = (19, 23) if mode[0] == "L" else (19, 23, 3)
        pixels = rng.integers(0, 4, shape).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png", transparency=2 if mode[0] == "L" else (2, 1, 0))
        clear = pixels == 2 if mode[0] == "L" else (pixels == [2, 1, 0]).all(2)
        expected = np.dstack([pixels, np.where(clear, 0, 255).astype(np.uint8)])
    with open_reader(tmp_path / "a.png") as reader:
        np.testing.assert_array_equal(reader.read(), expected)
        assert reader.info.has_alpha == (mode not in ("P", "1"))
        assert reader.info.bits == (1 if mode == "1" else 8)
    upscale_file(tmp_path / "a.png", tmp_path / "b.png", 1)
    with open_reader(tmp_path / "b.png") as reader:
        np.testing.assert_array_equal(reader.read(), expected)


@pytest.mark.parametrize(("mode", "colour"), [("L", "grey"), ("RGB", "rgb"), ("CMYK", "cmyk")])
def test_jpeg_stays_close(tmp_path, picture, mode, colour):
    bands = {"L": picture[:, :, 0], "RGB": picture, "CMYK": np.dstack([picture, picture[:, :, :1]])}[mode]
    image = Image.fromarray(bands) if mode != "CMYK" else Image.frombytes("CMYK", (61, 45), bands.tobytes())
    image.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    upscale_file(tmp_path / "a.jpg", tmp_path / "b.jpg", 1)
    with open_reader(tmp_path / "a.jpg") as a, open_reader(tmp_path / "b.jpg") as b:
        assert (a.info.colour, b.info.colour) == (colour, colour)
        assert np.abs(a.read().astype(int) - b.read()).mean() < 2


def test_webp_stays_lossless_or_lossy(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.webp", lossless=True)
    upscale_file(tmp_path / "a.webp", tmp_path / "b.webp", 1)
    np.testing.assert_array_equal(load(tmp_path / "b.webp"), picture)
    Image.fromarray(picture).save(tmp_path / "c.webp", quality=50)
    upscale_file(tmp_path / "c.webp", tmp_path / "d.webp", 1)
    assert (tmp_path / "d.webp").read_bytes()[12:16] != b"VP8L"


def test_writer_protocol_and_order(tmp_path, make):
    info, frames = make("grey", False, "uint8")
    writer = open_writer(tmp_path / "a.png", info)
    assert isinstance(writer, Writer)
    with pytest.raises(ArgumentError, match="next is row 0 of frame 0"):
        writer.write(Window(5, 0, 5, info.width), frames[0, 5:10])
    with pytest.raises(ShapeError, match="expected uint8 of shape"):
        writer.write(Window(0, 0, 5, info.width), frames[0, :5].astype(np.uint16))
    writer.write(Window(0, 0, 5, info.width), frames[0, :5])
    with pytest.raises(ArgumentError, match="only 5 of 37 rows"):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_reader_refuses_windows_outside(tmp_path, make, write):
    info, frames = make("grey", False, "uint8")
    with open_reader(write(tmp_path / "a.tif", info, frames)) as reader:
        with pytest.raises(ArgumentError, match="does not lie within the image of 37 x 29"):
            reader.read(Window(30, 0, 8, 5))
        with pytest.raises(ArgumentError, match="frame 1 of an image with 1"):
            reader.read(frame=1)


@pytest.mark.parametrize(
    ("name", "colour", "alpha", "dtype", "reason"),
    [
        ("a.jpg", "rgb", True, "uint8", "holds no alpha"),
        ("a.jpg", "rgb", False, "uint16", "holds 8-bit images, not uint16"),
        ("a.png", "cmyk", False, "uint8", "not cmyk of 4 bands"),
        ("a.png", "grey", False, "float32", "not float32"),
        ("a.webp", "bands", False, "uint8", "not bands of 5 bands"),
        ("a.bmpx", "rgb", False, "uint8", "unknown suffix '.bmpx'; accepted are"),
        ("a", "rgb", False, "uint8", "unknown suffix ''"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, make, name, colour, alpha, dtype, reason):
    info, _ = make(colour, alpha, dtype)
    with pytest.raises(FileError, match=reason):
        open_writer(tmp_path / name, info)
    assert list(tmp_path.iterdir()) == []
