"""Build the training pictures of the shipped super-resolution weights into a folder.

The pictures come from installed Python packages and from Debian packages, which are downloaded with ``apt-get
download`` and unpacked without being installed (an unpacked copy can be given with ``--debian``). JPEG pictures are
reduced with antialiasing by at least 1.5, and to 1.5 megapixels, which removes the compression artefacts; the others
stay as they are. The folder gets ``train/``, ``held-out/`` and ``manifest.csv``; the committed
``training_set/manifest.csv`` is the record that a rebuilt set is compared with.

    python tools/build_training_set.py OUT [--debian UNPACKED] [--luma]

With ``--luma`` the folder holds the 8-bit luma alone, which is what the networks are trained on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).parent / "training_set"
MAX_PIXELS = 1_500_000
JPEG_REDUCTION = 1.5
FIELDS = (
    "name", "split", "package", "file", "licence", "author", "width", "height", "source_sha256", "pixels_sha256"
)  # fmt: skip


def unpack_debian(package: str, folder: Path) -> Path:
    """Return the folder where Debian's ``package`` lies unpacked, downloading it if it is not there yet."""
    target = folder / package
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg", "-x", str(archive), str(target)], check=True)
    return target


def root_of(group: dict[str, Any], debian: Path) -> Path:
    """Return the folder that holds the pictures of ``group``."""
    if group["kind"] == "debian":
        return unpack_debian(group["package"], debian) / group["folder"]
    spec = importlib.util.find_spec(group["module"])
    if spec is None or spec.origin is None:
        raise SystemExit(f"{group['package']} is not installed; it holds some of the pictures")
    return Path(spec.origin).parent / group["folder"]


def reduce_picture(image: Image.Image, *, jpeg: bool) -> Image.Image:
    """Return the picture as 8-bit grey or RGB, reduced as the module's docstring says."""
    image = image.convert("L" if image.mode in ("L", "I", "F", "1") else "RGB")
    factor = max(JPEG_REDUCTION if jpeg else 1.0, (image.width * image.height / MAX_PIXELS) ** 0.5)
    if factor <= 1.0:
        return image
    size = (round(image.width / factor), round(image.height / factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def build(out: Path, debian: Path, *, luma: bool = False) -> list[dict[str, str]]:
    """Write every picture as PNG below ``out`` and return the rows of the manifest."""
    rows = []
    sources = tomllib.loads((HERE / "sources.toml").read_text(encoding="utf-8"))
    for group in sources["group"]:
        root = root_of(group, debian)
        for entry in group["pictures"]:
            source = root / entry["file"]
            split = "held-out" if entry.get("held_out", False) else "train"
            with Image.open(source) as opened:
                picture = reduce_picture(opened, jpeg=opened.format == "JPEG")
            name = source.stem + ".png"
            (out / split).mkdir(parents=True, exist_ok=True)
            (picture.convert("L") if luma else picture).save(out / split / name)
            rows.append(
                {
                    "name": name, "split": split, "package": group["package"], "file": entry["file"],
                    "licence": entry["licence"], "author": entry["author"],
                    "width": str(picture.width), "height": str(picture.height),
                    "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
                    "pixels_sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
                }
            )  # fmt: skip
    return sorted(rows, key=lambda row: (row["split"], row["name"]))


def write_manifest(rows: list[dict[str, str]], path: Path) -> None:
    """Write ``rows`` as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    """Build the set; exit code 1 when it differs from the committed record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--debian", type=Path, help="folder of unpacked Debian packages, one a subfolder")
    parser.add_argument("--luma", action="store_true", help="write 8-bit luma instead of colour")
    parser.add_argument("--record", action="store_true", help="rewrite the committed manifest")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = build(arguments.out, arguments.debian or Path(scratch), luma=arguments.luma)
    write_manifest(rows, arguments.out / "manifest.csv")
    record = HERE / "manifest.csv"
    if arguments.record:
        write_manifest(rows, record)
    with record.open(newline="", encoding="utf-8") as file:
        recorded = {row["name"]: row for row in csv.DictReader(file)}
    changed = [row["name"] for row in rows if recorded.get(row["name"]) != row]
    print(f"{len(rows)} pictures in {arguments.out}, {len(changed)} differ from {record}")
    for name in changed:
        print(f"  {name}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
