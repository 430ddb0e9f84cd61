"""How good are the networks on what they were not trained on: microscopy, CT, MR, a scene?

The reference is reduced in three ways and enlarged again: by MATLAB's antialiased bicubic, which the networks were
trained to undo; by the mean of s x s pixels, as a detector integrates; by bicubic with noise of 2 % of the range added
afterwards. PSNR and SSIM are taken on the declared range, without rounding, over all bands. The files come with pydicom
and nibabel; the membrane slices (ISBI 2012) are given as a folder; the scene is synthetic: parcels, roads and roofs
under a sensor's blur and noise.

    python benchmarks/scans_and_scenes.py --membrane ../shared/data/membrane/image --into docs/guide/evidence.md
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import rasterio
from PIL import Image
from scipy import ndimage
from super_resolution import replace_figures

from karaffe.evaluation.images import Image as Pixels
from karaffe.evaluation.methods import ModelMethod
from karaffe.evaluation.pictures import crop_to_multiple, read_frames, reduce
from karaffe.evaluation.protocol import Scores, get_protocol
from karaffe.models import describe_model

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
NIBABEL = Path(nibabel.__file__).parent / "tests" / "data"
HOUNSFIELD = (-1024.0, 3071.0)
MODELS = ("bicubic", "lanczos", "sharp", "faithful")
SHOWN = ("nearest", "lanczos", "sharp")


@dataclass(frozen=True)
class Subject:
    """Files that are measured together, and the values of black and white that their reader would set."""

    name: str
    files: tuple[Path, ...]
    value_range: tuple[float, float]


def subjects(folder: Path, membrane: Path | None) -> list[Subject]:
    """Return what is measured; the scene is written into ``folder``."""
    chest = tuple(PYDICOM / name for name in ("693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"))
    found = [
        Subject("CT, two slices of 512 x 512 (pydicom)", chest, HOUNSFIELD),
        Subject("CT, 128 x 128 (pydicom)", (PYDICOM / "CT_small.dcm",), HOUNSFIELD),
        Subject("MR, 300 x 484 (pydicom)", (PYDICOM / "examples_overlay.dcm",), (0, 1023)),
        Subject("MR, 64 x 64 (pydicom)", (PYDICOM / "MR_small.dcm",), (0, 2047)),
        Subject("diffusion MR, 48 slices (nibabel)", (NIBABEL / "example4d.nii.gz",), (0, 2047)),
        Subject("scene, 4 bands, synthetic", (scene(folder / "scene.tif"),), (0, 10_000)),
    ]
    if membrane is not None:
        slices = tuple(sorted(membrane.glob("*.png")))[::3]
        found.insert(0, Subject(f"electron microscopy, {len(slices)} slices (ISBI 2012)", slices, (0, 255)))
    return found


def scene(path: Path, side: int = 512) -> Path:
    """Write a synthetic scene: parcels of eight reflectances, roads, roofs; blurred, sampled, with noise."""
    rng = np.random.default_rng(0)
    fine = 2 * side
    rows, columns = np.mgrid[:fine, :fine]
    seeds = rng.integers(0, fine, (220, 2))
    nearest = np.zeros((fine, fine), int)
    closest = np.full((fine, fine), np.inf)
    for number, (y, x) in enumerate(seeds):
        distance = np.abs(rows - y) + 0.7 * np.abs(columns - x)
        nearest[distance < closest] = number
        closest = np.minimum(closest, distance)
    bands = np.empty((4, side, side), np.uint16)
    roads = (np.abs((rows + 0.4 * columns) % 230 - 115) < 3) | (np.abs((columns - 0.2 * rows) % 310 - 155) < 4)
    roofs = ndimage.binary_dilation(rng.random((fine, fine)) < 4e-4, iterations=5)
    for band in range(4):
        reflectance = rng.integers(400, 4500, len(seeds))[nearest].astype(float)
        reflectance += 150 * ndimage.gaussian_filter(rng.standard_normal((fine, fine)), 2)
        reflectance[roads], reflectance[roofs] = 1200 + 150 * band, 5200 - 300 * band
        sampled = ndimage.gaussian_filter(reflectance, 1.2).reshape(side, 2, side, 2).mean((1, 3))
        bands[band] = np.clip(sampled + rng.normal(0, 20, sampled.shape), 1, 10_000)
    place = rasterio.transform.Affine(10, 0, 600_000, 0, -10, 5_200_000)
    with rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=4, dtype="uint16", crs="EPSG:32632", transform=place
    ) as file:
        file.write(bands)
    return path


def reductions(reference: Pixels, scale: int, rng: np.random.Generator) -> dict[str, Pixels]:
    """Return the reduced picture of each kind."""
    height, width = (n // scale for n in reference.shape[:2])
    bicubic = reduce(reference, scale)
    noisy = bicubic + rng.normal(0, 0.02, bicubic.shape).astype(np.float32)
    mean = reference.reshape(height, scale, width, scale, *reference.shape[2:]).mean((1, 3), dtype=np.float32)
    return {"bicubic": bicubic, "mean": mean, "bicubic, noise": noisy}


def scores(subject: Subject, scale: int, models: list[str]) -> dict[str, dict[str, Scores]]:
    """Return the mean scores of each model on each kind of reduction."""
    methods = [ModelMethod(name, scale, tile=0) for name in models]
    protocol, rng = get_protocol("bands"), np.random.default_rng(0)
    found: dict[str, dict[str, list[Scores]]] = {}
    for path in subject.files:
        for name, frame in read_frames(path, subject.value_range):
            reference = crop_to_multiple(frame, scale, name)
            for kind, low in reductions(reference, scale, rng).items():
                for method in methods:
                    made = protocol.measure(method.make(name, low, reference)[0], reference, scale)
                    found.setdefault(kind, {}).setdefault(method.name, []).append(made)
    return {
        kind: {name: Scores(*np.mean(values, axis=0)) for name, values in by_model.items()}
        for kind, by_model in found.items()
    }


def table(folder: Path, membrane: Path | None, scales: list[int]) -> str:
    """Return the Markdown table; the best of a row is bold."""
    models = [name for name in MODELS if describe_model(name).scales != ()]
    lines = ["| what | scale | reduced by | " + " | ".join(f"`{m}`" for m in models) + " |"]
    lines.append("|---|---|---|" + "---|" * len(models))
    for subject in subjects(folder, membrane):
        low, high = subject.value_range
        for scale in scales:
            for kind, means in scores(subject, scale, models).items():
                what = f"{subject.name}, {low:g} to {high:g}"
                lines.append(f"| {what} | x{scale} | {kind} | " + " | ".join(_cells(means)) + " |")
    return "\n".join(lines)


def _cells(means: dict[str, Scores]) -> list[str]:
    best = max(means.values())
    return [f"**{m.psnr:.2f} / {m.ssim:.4f}**" if m is best else f"{m.psnr:.2f} / {m.ssim:.4f}" for m in means.values()]


def picture(path: Path, folder: Path, scale: int = 4, side: int = 128) -> None:
    """Write a strip of the scene's first three bands: as it was reduced, by Lanczos, by `sharp`, and as it is."""
    ((_, frame),) = read_frames(scene(folder / "scene.tif"), (0, 6000))
    reference = frame[100 : 100 + side, 100 : 100 + side, 2::-1]
    low = reduce(np.ascontiguousarray(reference), scale)
    parts = [ModelMethod(name, scale).make("scene", low, reference)[0] for name in SHOWN] + [reference]
    strip = np.clip(np.concatenate(parts, 1) * 255 + 0.5, 0, 255).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    Image.fromarray(strip).quantize(128).save(path, optimize=True)


def main() -> None:
    """Print the table, put it into a document, or draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--membrane", type=Path, help="folder of the membrane slices")
    parser.add_argument("--scales", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--into", type=Path, help="document to put the table into")
    parser.add_argument("--picture", type=Path, help="draw the scene into this file instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.picture is not None:
            picture(options.picture, Path(folder))
            return
        text = table(Path(folder), options.membrane, options.scales)
    if options.into is None:
        print(text)
    else:
        replace_figures(options.into, text)


if __name__ == "__main__":
    main()
