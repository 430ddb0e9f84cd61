"""Unreadable input and unwritable output: one FileError that names the file and what was found."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from karaffe.errors import FileError, KaraffeError
from karaffe.imaging import Window, open_reader, open_writer, upscale_file
from karaffe.imaging.arrays import ArrayReader, ArrayWriter
from karaffe.imaging.engine import Enlarger
from karaffe.imaging.network import find_network
from karaffe.imaging.storage import Draft

SUFFIXES = [".png", ".jpg", ".webp", ".tif"]


def save(path: Path, pixels: np.ndarray) -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb", compression="zlib", rowsperstrip=8)
    else:
        Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_absent_empty_and_wrong_content(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(FileError, match=rf"cannot read .*a\{suffix}: No such file"):
        open_reader(path)
    path.write_bytes(b"")
    with pytest.raises(FileError, match=r"the file is empty \(0 bytes\)"):
        open_reader(path)
    path.write_bytes(b"%PDF-1.7 and so on")
    with pytest.raises(FileError, match=r"content starting with b'%PDF-1.7' is no known image format"):
        open_reader(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_truncated(tmp_path, picture, suffix, share):
    path = save(tmp_path / f"a{suffix}", picture)
    data = path.read_bytes()
    path.write_bytes(data[: max(9, int(len(data) * share))])
    with pytest.raises(FileError, match=rf"cannot read .*a\{suffix}"):
        upscale_file(path, tmp_path / f"out{suffix}", 2, "nearest")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damage_never_escapes_as_a_foreign_error(tmp_path_factory, suffix, data):
    folder = tmp_path_factory.mktemp("damage")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    content = bytearray(save(folder / f"a{suffix}", pixels).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / f"a{suffix}").write_bytes(content)
    try:
        upscale_file(folder / f"a{suffix}", folder / f"b{suffix}", 1)
    except KaraffeError:
        assert [p.name for p in folder.iterdir()] == [f"a{suffix}"]


def test_a_wrong_name_does_not_matter(tmp_path, picture):
    save(tmp_path / "a.png", picture).rename(tmp_path / "a.jpg")
    with open_reader(tmp_path / "a.jpg") as reader:
        assert reader.info.format == "png"
        np.testing.assert_array_equal(reader.read(), picture)


def test_decompression_bomb(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(FileError, match=r"40000000000 pixels.*decompression bomb.*MAX_IMAGE_PIXELS"):
        open_reader(tmp_path / "a.png")


def test_tiff_bomb_of_one_strip(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((64, 64), np.uint8), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        for tag in (256, 257, 278):
            file.pages[0].tags[tag].overwrite(200_000)
    with pytest.raises(FileError, match="decompression bomb"):
        open_reader(tmp_path / "a.tif")


def test_animations_are_refused(tmp_path, picture):
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    for name in ("a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(FileError, match="an animation of 2 frames; still images are accepted"):
            open_reader(tmp_path / name)


def test_pages_that_differ_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((9, 9), np.uint8))
        file.write(np.zeros((9, 8), np.uint8))
    with pytest.raises(FileError, match=r"page 1 is .* all pages must be alike"):
        open_reader(tmp_path / "a.tif")


def test_unknown_kinds_of_tiff_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9), np.complex64))
    with pytest.raises(FileError, match="TIFF of complex64"):
        open_reader(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_existing_results_are_refused(tmp_path, picture, suffix):
    source = save(tmp_path / "a.png", picture)
    (tmp_path / f"b{suffix}").write_text("mine")
    with pytest.raises(FileError, match=r"exists; give overwrite=True \(--overwrite\)"):
        upscale_file(source, tmp_path / f"b{suffix}", 2, "nearest")
    assert (tmp_path / f"b{suffix}").read_text() == "mine"
    upscale_file(source, tmp_path / f"b{suffix}", 2, "nearest", overwrite=True)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.size == (122, 90)


def test_the_source_is_never_overwritten(tmp_path, picture):
    source = save(tmp_path / "a.png", picture)
    before = source.read_bytes()
    (tmp_path / "link.png").hardlink_to(source)
    for target in (source, tmp_path / "link.png"):
        with pytest.raises(FileError, match="the source itself, which is never overwritten"):
            upscale_file(source, target, 2, "nearest", overwrite=True)
    assert source.read_bytes() == before


def test_a_folder_that_cannot_be_written(tmp_path, picture):
    source = save(tmp_path / "a.png", picture)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileError, match=r"cannot write .*file/b.png: (Not a directory|File exists)"):
        upscale_file(source, tmp_path / "file" / "b.png", 2, "nearest")
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        with pytest.raises(FileError, match="Permission denied"):
            upscale_file(source, locked / "b.png", 2, "nearest")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_an_exception_leaves_nothing(tmp_path, make, suffix):
    info, frames = make("rgb", False, "uint8")

    def interrupted() -> None:
        with open_writer(tmp_path / f"a{suffix}", info) as writer:
            writer.write(Window(0, 0, 20, info.width), frames[0, :20])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_full_disk_is_one_error(tmp_path, make, write, monkeypatch, suffix):
    """The draft is put on a device that is always full."""
    info, frames = make("rgb", False, "uint16", width=300, height=400)
    original = Draft.__init__

    def full(self, path, *, overwrite=False):
        original(self, path, overwrite=overwrite)
        self.path.symlink_to("/dev/full")

    monkeypatch.setattr(Draft, "__init__", full)
    with pytest.raises(FileError, match=rf"cannot write .*a\{suffix}: .*[Nn]o space left"):
        write(tmp_path / f"a{suffix}", info, frames)
    assert list(tmp_path.iterdir()) == []


def test_a_full_file_system(tmp_path, make, write):
    """The same on a real file system of 256 kB, where one may be mounted."""
    info, frames = make("rgb", False, "uint16", width=300, height=400)
    source = write(tmp_path / "a.tif", info, frames)
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        for name in ("b.png", "b.tif"):
            with pytest.raises(FileError, match=rf"cannot write .*{name}"):
                upscale_file(source, small / name, 2, "nearest")
            assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_integers_beyond_the_declared_bits(make):
    info, _ = make("grey", False, "uint16", 12)
    reader, writer = ArrayReader(np.full((1, 37, 29, 1), 5000, np.uint16), info), ArrayWriter(info.with_size(74, 58))
    enlarger = Enlarger(info, writer.info, find_network("bicubic", 2), name="scan.dcm")
    with pytest.raises(FileError, match=r"scan.dcm: values from 5000 to 5000 do not fit the declared 12 bits"):
        list(enlarger.run(reader, writer))


KILLED = """
import sys, time
from karaffe.imaging.one_file import Settings, run_file
from pathlib import Path
steps = run_file(Path(sys.argv[1]), Path(sys.argv[2]), Settings(2, "bicubic", tile=8))
for number, _ in enumerate(steps):
    if number == 3:
        print("half", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("signal", ["kill", "terminate"])
def test_a_killed_run_leaves_no_half_file(tmp_path, picture, suffix, signal):
    source = save(tmp_path / "a.png", picture)
    target = tmp_path / "out" / f"b{suffix}"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(source), str(target)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "half\n"
        left = [p.name for p in target.parent.iterdir()]
        assert len(left) == 1
        assert left[0].startswith(".")
        # A second run beside a living one must not remove its draft.
        upscale_file(source, target, 2, "bicubic")
        assert left[0] in [p.name for p in target.parent.iterdir()]
        target.unlink()
    finally:
        getattr(process, signal)()
        process.wait()
        process.stdout.close()
    assert not target.exists()
    time.sleep(0.05)
    upscale_file(source, target, 2, "bicubic")
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    with Image.open(target) as image:
        assert image.size == (122, 90)
