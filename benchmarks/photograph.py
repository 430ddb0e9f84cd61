"""How long does a photograph of 12 megapixels take, x2, beside interpolation and a network of the same cost?

Two questions. *Networks*: `sharp` on RGB and an FSRCNN of as many true multiply-adds (Dong et al., ECCV 2016; its
transposed convolution counted as executed; on luma alone, random weights) in onnxruntime and in OpenCV's dnn enlarge
the same tiles, taking turns at every tile; each gets its own halo. *The whole*: seconds for all 12 megapixels in
memory, from 8-bit values to 8-bit values for ours and Pillow, bare float tensors for the others. Freed memory is kept
in the process, for all contenders alike, as `karaffe upscale` does.

Correctness gates it: tiled `sharp` equals untiled to one count, and the FSRCNN gives torch's numbers in both runtimes.

    python benchmarks/photograph.py --tiles 24
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from common import ROOT, machine, write_results
from PIL import Image
from torch import nn

import karaffe
from karaffe.imaging.memory import keep_freed_memory
from karaffe.imaging.network import find_network
from karaffe.models import create_model, describe_model
from karaffe.models.cost import multiply_adds

ROWS, COLUMNS, TILE, SCALE = 3000, 4000, 256, 2
# As near to the cost of `sharp` as widths that fill vector registers come, and not above it.
WIDTHS = {"d": 128, "s": 24, "m": 4}

Tile = np.ndarray
Network = Callable[[Tile], object]


def photograph() -> np.ndarray:
    """Mirror the example pictures until 12 megapixels are full."""
    parts = [np.asarray(Image.open(p).convert("RGB")) for p in sorted((ROOT / "examples" / "pictures").glob("*.png"))]
    picture = max(parts, key=lambda p: p.size)
    pads = [(0, max(0, n - m)) for n, m in zip((ROWS, COLUMNS), picture.shape[:2], strict=True)]
    return np.pad(picture, (*pads, (0, 0)), mode="symmetric")[:ROWS, :COLUMNS]


def contenders(threads: int) -> dict[str, tuple[Network, int, int]]:
    """Return each network: what it is called with, its halo and its channels."""
    sharp, fsrcnn = create_model("sharp", SCALE), create_model("fsrcnn", SCALE, pretrained=False, **WIDTHS)
    peer, halo = nn.Sequential(fsrcnn.trunk, fsrcnn.deconvolution).eval(), fsrcnn.halo
    x = torch.rand(1, 1, 40, 56)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fsrcnn.onnx"
        dynamic = {name: {2: f"{name}_h", 3: f"{name}_w"} for name in ("x", "y")}
        torch.onnx.export(peer, (x,), path, input_names=["x"], output_names=["y"], dynamic_axes=dynamic, dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        opencv = _opencv(path, threads)
    found: dict[str, tuple[Network, int, int]] = {
        "sharp": (lambda t: sharp(torch.from_numpy(t)), sharp.halo, 3),
        "sharp, grey": (lambda t: sharp(torch.from_numpy(t)), sharp.halo, 1),
        "FSRCNN in onnxruntime": (lambda t: session.run(None, {"x": t})[0], halo, 1),
    }
    if opencv is not None:
        found["FSRCNN in OpenCV"] = (opencv, halo, 1)
    found["FSRCNN in torch"] = (lambda t: peer(torch.from_numpy(t)), halo, 1)
    wanted = peer(x).numpy()
    for name in [n for n in found if n.startswith("FSRCNN")]:
        error = np.abs(np.asarray(found[name][0](x.numpy())) - wanted).max() / np.abs(wanted).max()
        if error > 1e-4:
            raise SystemExit(f"{name} differs from torch by {error:.1e}; nothing is reported")
    return found


def _opencv(path: Path, threads: int) -> Network | None:
    try:
        import cv2
    except ImportError as error:
        print(f"OpenCV is left out: {error}")
        return None
    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromONNX(str(path))

    def call(tile: Tile) -> object:
        network.setInput(tile)
        return network.forward()

    return call


def tiles(picture: np.ndarray, halo: int, channels: int, count: int) -> list[Tile]:
    """Return tiles with their halo, spread over the picture."""
    x = np.ascontiguousarray(picture.transpose(2, 0, 1)[None, :channels], np.float32) / 255
    corners = [(r, c) for r in range(0, ROWS - TILE + 1, TILE) for c in range(0, COLUMNS - TILE + 1, TILE)]
    chosen = corners[:: max(1, len(corners) // count)][:count]
    around = np.pad(x, ((0, 0), (0, 0), (halo, halo), (halo, halo)), mode="edge")
    size = TILE + 2 * halo
    return [np.ascontiguousarray(around[:, :, r : r + size, c : c + size]) for r, c in chosen]


def networks(picture: np.ndarray, count: int, threads: int) -> dict[str, list[float]]:
    """Return the nanoseconds a source pixel that each network took at each tile."""
    found = contenders(threads)
    given = {name: tiles(picture, halo, channels, count) for name, (_, halo, channels) in found.items()}
    for name, (call, _, _) in found.items():
        call(given[name][0])
    times: dict[str, list[float]] = {name: [] for name in found}
    for number in range(count):
        for name, (call, _, _) in found.items():
            start = time.perf_counter()
            call(given[name][number])
            times[name].append((time.perf_counter() - start) / TILE**2 * 1e9)
    return times


def whole(picture: np.ndarray) -> dict[str, float]:
    """Return the seconds for the whole photograph."""
    height, width = picture.shape[0] * SCALE, picture.shape[1] * SCALE
    image, x = Image.fromarray(picture), torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    calls: dict[str, Callable[[], object]] = {
        "Pillow, Lanczos": lambda: image.resize((width, height), Image.Resampling.LANCZOS),
        "torch, bicubic": lambda: nn.functional.interpolate(x, scale_factor=SCALE, mode="bicubic"),
        "karaffe.upscale, bicubic": lambda: karaffe.upscale(picture, SCALE, "bicubic"),
        "karaffe.upscale, sharp": lambda: karaffe.upscale(picture, SCALE, "sharp"),
    }
    seconds = {}
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        seconds[name] = time.perf_counter() - start
    return seconds


def check(picture: np.ndarray) -> None:
    """Compare tiled with untiled."""
    corner = picture[:300, :400]
    tiled, untiled = (karaffe.upscale(corner, SCALE, "sharp", tile=t).astype(int) for t in (TILE // 2, 0))
    if np.abs(tiled - untiled).max() > 1:
        raise SystemExit("tiled differs from untiled; nothing is reported")


def table(times: dict[str, list[float]], seconds: dict[str, float], who: dict[str, str]) -> str:
    """Return both tables."""
    sharp, fsrcnn = describe_model("sharp"), create_model("fsrcnn", SCALE, pretrained=False, **WIDTHS)
    costs = {"sharp": sharp.macs_per_source_pixel(SCALE, 3), "sharp, grey": sharp.macs_per_source_pixel(SCALE, 1)}
    lines = [
        f"# A photograph of {ROWS * COLUMNS / 1e6:.0f} megapixels, x{SCALE}",
        "",
        f"Networks on {len(times['sharp'])} tiles of {TILE} x {TILE} source pixels with their halos, taking turns; the "
        "ratio is the median of the tiles' ratios.",
        "",
        "| network | multiply-adds a source pixel | ns a source pixel | times the time of `sharp` |",
        "|---|---|---|---|",
    ]
    for name, values in times.items():
        ratio = statistics.median(v / s for v, s in zip(values, times["sharp"], strict=True))
        cost = costs.get(name, multiply_adds(fsrcnn, 1))
        lines.append(f"| {name} | {cost} | {statistics.median(values):.0f} | {ratio:.2f} |")
    lines += ["", "All of it, once, in memory:", "", "| | seconds |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in seconds.items()]
    for name in [n for n in times if n.startswith("FSRCNN")]:
        share = statistics.fmean(times[name]) * ROWS * COLUMNS / 1e9
        lines.append(f"| {name}, luma alone, from its tiles | {share:.2f} |")
    halo = find_network("sharp", SCALE).halo
    lines += [
        "",
        f"FSRCNN is {tuple(WIDTHS.values())}, halo {fsrcnn.halo}; `sharp` has halo {halo} and enlarges all three "
        "channels. Interpolation needs no network and no multiply-adds to speak of.",
        "",
    ]
    lines += [f"- {key}: {value}" for key, value in who.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=24)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as `karaffe upscale` does
    picture = photograph()
    with torch.inference_mode():
        check(picture)
        times = networks(picture, options.tiles, options.threads)
        seconds = whole(picture)
    who = {**machine(), "threads": str(options.threads)}
    text = table(times, seconds, who)
    print(text)
    print(write_results("photograph", {"machine": who, "ns_a_pixel": times, "seconds": seconds}, text))


if __name__ == "__main__":
    main()
