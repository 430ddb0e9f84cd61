"""How much memory and time does a scene take, as it grows?

Generates GeoTIFF scenes of growing sides, enlarges each in a process of its own, and measures that process: the largest
resident set and the seconds. Correctness gates it: windows of every result are compared with `karaffe.upscale` on the
same part of the source and its surroundings, and the corners of the result must lie where those of the source lie.

    python benchmarks/large_image.py --sides 2500 5000 10000 --scale 4 --model bicubic
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from common import machine, write_results
from rasterio.transform import Affine
from rasterio.windows import Window

from karaffe.imaging import upscale
from karaffe.imaging.network import find_network

RANGE = (0, 10_000)
CHILD = """
import json, resource, sys, time
from karaffe.imaging import upscale_file
from karaffe.imaging.memory import keep_freed_memory
keep_freed_memory()  # as the command does
source, target, scale, model = sys.argv[1:5]
start = time.perf_counter()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
upscale_file(source, target, float(scale), model, value_range=(0, 10_000))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": time.perf_counter() - start, "start_mb": before / 1024, "peak_mb": after / 1024}))
"""


def generate(path: Path, side: int) -> None:
    """Write a square scene of one 16-bit band: waves, fields and noise."""
    rng = np.random.default_rng(0)
    options = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_200_000), "compress": "deflate"}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=1, dtype="uint16", **options, **layout
    ) as file:
        for top in range(0, side, 256):
            rows = min(256, side - top)
            y, x = np.mgrid[top : top + rows, :side]
            fields = 600 * ((x // 83 + y // 61) % 3)
            scene = 2000 + 900 * np.sin(x / 37) * np.cos(y / 23) + fields + rng.integers(0, 200, (rows, side))
            file.write(scene.astype(np.uint16)[None], window=Window(0, top, side, rows))


def check(source: Path, target: Path, scale: int, model: str) -> int:
    """Compare windows of the result with the same part enlarged alone; return the largest difference in counts."""
    margin, size = find_network(model, scale).halo + 8, 64
    worst = 0
    with rasterio.open(source) as a, rasterio.open(target) as b:
        side = a.width
        assert (b.width, b.height, b.res[0] * scale) == (side * scale, side * scale, a.res[0])
        assert b.bounds == a.bounds
        rng = np.random.default_rng(1)
        for top, left in rng.integers(margin, side - size - margin, (20, 2)).tolist():
            around = a.read(1, window=Window(left - margin, top - margin, size + 2 * margin, size + 2 * margin))
            alone = upscale(around, scale, model, value_range=RANGE)
            inner = alone[margin * scale : -margin * scale, margin * scale : -margin * scale].astype(int)
            made = b.read(1, window=Window(left * scale, top * scale, size * scale, size * scale))
            worst = max(worst, int(np.abs(inner - made).max()))
    return worst


def measure(folder: Path, side: int, scale: int, model: str) -> dict[str, float]:
    source, target = folder / f"{side}.tif", folder / f"{side}_result.tif"
    generate(source, side)
    command = [sys.executable, "-c", CHILD, str(source), str(target), str(scale), model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    worst = check(source, target, scale, model)
    if worst > 1:
        raise SystemExit(f"side {side}: the result differs by {worst} counts; nothing is reported")
    row = {"side": side, "result_side": side * scale, "difference": worst, **json.loads(done.stdout)}
    source.unlink()
    target.unlink()
    return row


def table(rows: list[dict[str, float]], scale: int, model: str, who: dict[str, str]) -> str:
    lines = [
        f"# Memory and time of a growing scene, x{scale}, `{model}`, one band of 16 bit",
        "",
        "| source | result | resident set at the start | largest | seconds | s / megapixel of the result |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        megapixels = row["result_side"] ** 2 / 1e6
        lines.append(
            f"| {row['side']}² | {row['result_side']}² | {row['start_mb']:.0f} MB | {row['peak_mb']:.0f} MB "
            f"| {row['seconds']:.0f} | {row['seconds'] / megapixels:.3f} |"
        )
    lines += ["", "Windows of every result equal the same part enlarged alone, to one count.", ""]
    lines += [f"- {key}: {value}" for key, value in who.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[2500, 5000, 10_000])
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--model", default="bicubic")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(Path(folder), side, options.scale, options.model) for side in options.sides]
    who = machine()
    text = table(rows, options.scale, options.model, who)
    print(text)
    payload = {"machine": who, "scale": options.scale, "model": options.model, "rows": rows}
    print(write_results(f"large_image_{options.model}", payload, text))


if __name__ == "__main__":
    main()
