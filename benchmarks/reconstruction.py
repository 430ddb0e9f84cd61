"""What upsampling does to pictures that a network makes: an autoencoder, inpainting, and a generator.

    python benchmarks/reconstruction.py                    # all three, on a GPU where there is one
    python benchmarks/reconstruction.py --tasks autoencoder --candidates deconv-3,carafe --steps 200

Every candidate is trained on the same crops with the same seed. Checkerboard energy is the share of a picture's
variance that repeats with the stride of the upsampling; of the pictures held out it is the reference. The generator
learns one latent vector a crop (Bojanowski et al., *Optimizing the latent space of generative networks*, ICML 2018),
and new pictures are decoded from a Gaussian fitted to them.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, write_into
from matplotlib.figure import Figure
from PIL import Image
from skimage import data as pictures
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.evaluation import psnr, ssim
from karaffe.evaluation.checkerboard import checkerboard_energy
from karaffe.ops import use_backend
from karaffe.upsamplers import create_upsampler, describe_upsampler

CANDIDATES = "nearest,bilinear,resize-conv,pixel-shuffle,deconv,deconv-3,carafe,dysample"
TASKS = ("autoencoder", "inpainting", "generator")
TRAIN, HELD_OUT = ("astronaut", "hubble_deep_field", "rocket", "immunohistochemistry"), ("coffee", "chelsea")
EDGE, BATCH, STRIDE, LATENT, CROPS = 64, 32, 2, 64, 512
ASSETS = Path(__file__).parents[1] / "docs" / "assets" / "reconstruction"


def up(name: str, channels: int) -> nn.Module:
    """A x2 upsampler; ``deconv-3`` is a transposed convolution of 3 taps, whose overlaps are uneven."""
    if name == "deconv-3":
        return create_upsampler("deconv", channels, 2, kernel_size=3)
    options = {"compressed_channels": 16} if "compressed_channels" in describe_upsampler(name).options else {}
    return create_upsampler(name, channels, 2, **options)


def convolve(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), nn.LeakyReLU(0.1))


class Decoder(nn.Module):
    """From 1/8 to full size: upsample, convolve, three times; the last step's result is made RGB point by point."""

    def __init__(self, name: str, channels: tuple[int, ...], skips: tuple[int, ...] = (0, 0, 0)) -> None:
        super().__init__()
        steps = zip(channels[:-1], channels[1:], skips, strict=True)
        self.steps = nn.ModuleList(nn.ModuleList([convolve(a + skip, b), up(name, b)]) for (a, b, skip) in steps)
        self.rgb = nn.Conv2d(channels[-1], 3, 1)

    def forward(self, x: Tensor, skips: tuple[Tensor, ...] = ()) -> Tensor:
        for level, (mix, enlarge) in enumerate(self.steps):
            x = enlarge(mix(torch.cat([x, skips[level]], 1) if skips else x))
        return self.rgb(x)


class Autoencoder(nn.Module):
    """64 x 64 x 3 through 8 x 8 x 16; with ``skips`` a U-Net that also sees where the hole is."""

    def __init__(self, name: str, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        widths = (3 + skips, 32, 64, 64)
        self.down = nn.ModuleList(convolve(a, b, 2) for a, b in pairwise(widths))
        self.code = nn.Conv2d(64, 64 if skips else 16, 1)
        self.decoder = Decoder(name, (64 if skips else 16, 64, 32, 32), (64, 64, 32) if skips else (0, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for layer in self.down:
            x = layer(x)
            maps.append(x)
        return self.decoder(self.code(x), tuple(reversed(maps)) if self.skips else ())


class Generator(nn.Module):
    """A latent vector a training crop, and the decoder that they share."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(CROPS, LATENT) / math.sqrt(LATENT))
        self.start = nn.Linear(LATENT, 64 * 64)
        self.decoder = Decoder(name, (64, 64, 32, 32))

    def forward(self, latents: Tensor) -> Tensor:
        return self.decoder(F.leaky_relu(self.start(latents), 0.1).unflatten(1, (64, 8, 8)))

    def draw(self, count: int) -> Tensor:
        """Decode latents drawn from the Gaussian of the learned ones."""
        known = self.latents.detach().double().cpu()
        covariance = torch.cov(known.T) + 1e-6 * torch.eye(LATENT)
        normal = torch.randn(count, LATENT, generator=torch.Generator().manual_seed(1)).double()
        drawn = known.mean(0) + normal @ torch.linalg.cholesky(covariance).T
        return self(drawn.to(self.latents))


class Crops:
    """Random crops of some pictures, which depend on the step alone."""

    def __init__(self, names: tuple[str, ...], device: str) -> None:
        arrays = [np.ascontiguousarray(getattr(pictures, name)()[..., :3]) for name in names]
        self.planes = [torch.from_numpy(a).permute(2, 0, 1).to(device) for a in arrays]

    def __call__(self, step: int, count: int = BATCH) -> Tensor:
        draws = np.random.Generator(np.random.Philox(key=step)).random((count, 4))
        return torch.stack([self._cut(*row) for row in draws]).float() / 255

    def _cut(self, which: float, y: float, x: float, mirror: float) -> Tensor:
        plane = self.planes[int(which * len(self.planes))]
        top, left = int(y * (plane.shape[1] - EDGE)), int(x * (plane.shape[2] - EDGE))
        crop = plane[:, top : top + EDGE, left : left + EDGE]
        return crop.flip(2) if mirror < 0.5 else crop


def holes(step: int, count: int, device: torch.device) -> Tensor:
    """Return masks that are 1 in a square of a quarter to a half of the edge."""
    draws = np.random.Generator(np.random.Philox(key=(1 << 40) + step)).random((count, 3))
    masks = torch.zeros(count, 1, EDGE, EDGE, device=device)
    for mask, (size, y, x) in zip(masks, draws, strict=True):
        side = int(EDGE * (0.25 + 0.25 * size))
        top, left = int(y * (EDGE - side)), int(x * (EDGE - side))
        mask[:, top : top + side, left : left + side] = 1
    return masks


def forward(task: str, model: nn.Module, x: Tensor, step: int) -> Tensor:
    """Return what the network makes of a batch."""
    if task == "inpainting":
        mask = holes(step, len(x), x.device)
        made = model(torch.cat([x * (1 - mask), mask], 1))
        return x * (1 - mask) + made * mask
    return model(x)


def train(task: str, name: str, steps: int, device: str) -> dict:
    """Train one candidate; return its figures, its energy over the steps, and pictures."""
    torch.manual_seed(0)
    model = (Generator(name) if task == "generator" else Autoencoder(name, task == "inpainting")).to(device)
    crops, held = Crops(TRAIN, device), Crops(HELD_OUT, device)(0, 64)
    fixed = crops(0, CROPS) if task == "generator" else None
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    energies = []
    for step in range(steps + 1):
        if step % max(1, steps // 12) == 0:
            energies.append((step, energy(results(task, model, held))))
        if step == steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        if fixed is not None:
            chosen = torch.from_numpy(np.random.Generator(np.random.Philox(key=step)).integers(CROPS, size=BATCH))
            source, target = model.latents[chosen.to(device)], fixed[chosen.to(device)]
        else:
            source = target = crops(step)
        loss = F.l1_loss(forward(task, model, source, step), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = results(task, model, held)
    compared = held
    if fixed is not None:  # How well the crops it learned come back; new pictures have nothing to be compared with.
        with torch.no_grad():
            compared, remade = fixed[:64], model(model.latents[:64]).clamp(0, 1)
    else:
        remade = made
    pairs = [(to_array(a), to_array(b)) for a, b in zip(remade, compared, strict=True)]
    return {
        "task": task,
        "candidate": name,
        "psnr": float(np.mean([psnr(a, b) for a, b in pairs])),
        "ssim": float(np.mean([ssim(a.mean(2), b.mean(2)) for a, b in pairs])),
        "energy": energy(made),
        "energies": energies,
        "parameters": sum(p.numel() for p in model.parameters()),
        "grid": np.concatenate([to_array(a) for a in made[:6]], axis=1),
        "reference": np.concatenate([to_array(a) for a in held[:6]], axis=1),
        "natural": energy(held),
    }


@torch.no_grad()
def results(task: str, model: nn.Module, held: Tensor) -> Tensor:
    """Return pictures that the network makes: of the held-out crops, or new ones."""
    made = model.draw(len(held)) if task == "generator" else forward(task, model, held, 0)
    return made.clamp(0, 1)


def to_array(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).double().cpu().numpy()


def energy(images: Tensor) -> float:
    return float(np.mean([checkerboard_energy(to_array(image), STRIDE) for image in images]))


def draw(task: str, found: list[dict]) -> None:
    """Write the grid of pictures and the chart of the energies of a task."""
    ASSETS.mkdir(parents=True, exist_ok=True)
    rows = ([] if task == "generator" else [found[0]["reference"]]) + [f["grid"] for f in found]
    names = ([] if task == "generator" else ["original"]) + [f["candidate"] for f in found]
    canvas = Figure(figsize=(7, 1.15 * len(rows)), layout="constrained")
    for axes, row, name in zip(np.atleast_1d(canvas.subplots(len(rows))), rows, names, strict=True):
        axes.imshow(np.repeat(np.repeat(row, 2, 0), 2, 1), interpolation="nearest")
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    canvas.savefig(ASSETS / f"{task}.png", dpi=100, metadata={"Software": None})
    Image.open(ASSETS / f"{task}.png").convert("RGB").quantize(192).save(ASSETS / f"{task}.png", optimize=True)
    chart = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = chart.subplots()
    for f in found:
        axes.plot(*zip(*f["energies"], strict=True), label=f["candidate"])
    axes.axhline(found[0]["natural"], color="0.5", linestyle=":", label="photographs")
    axes.set(xlabel="step", ylabel="checkerboard energy", yscale="log")
    axes.legend(frameon=False, fontsize=8, ncols=2)
    chart.savefig(ASSETS / f"{task}_energy.png", dpi=100, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--candidates", default=CANDIDATES)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--raw", type=Path, help="only train: keep what was found in this file (.npz)")
    parser.add_argument("--read", type=Path, nargs="*", help="only write: take what was found from these files")
    parser.add_argument("--into", type=Path, help="a page whose part between <!-- reconstruction --> and <!-- end -->")
    parser.add_argument("--trained-on", default="this machine", help="what trained them, for the note")
    parser.add_argument("--backend", help="of karaffe's operators: reference, cpu, triton (default: by device)")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with use_backend(arguments.backend):
        run(arguments, device)


def run(arguments: argparse.Namespace, device: str) -> None:
    """Train what is asked for, or read it, and write it."""
    if arguments.read:
        found = [entry for path in arguments.read for entry in kept(path)]
    else:
        found = []
        for task in arguments.tasks.split(","):
            for name in arguments.candidates.split(","):
                found.append(train(task, name, arguments.steps, device) | {"steps": arguments.steps})
                last = found[-1]
                print(f"{task} {name}: {last['psnr']:.2f} dB, {last['ssim']:.4f}, {last['energy']:.2e}", flush=True)
    if arguments.raw:
        keep(found, arguments.raw)
        return
    write(found, arguments)


def keep(found: list[dict], path: Path) -> None:
    """Write what was found into one file: figures as JSON, grids as they are."""
    kinds = ("grid", "reference")
    grids = {f"{k}{i}": (255 * e[k]).round().astype(np.uint8) for i, e in enumerate(found) for k in kinds}
    figures = [{k: v for k, v in e.items() if k not in kinds} for e in found]
    np.savez_compressed(path, figures=np.array(json.dumps(figures)), **grids)


def kept(path: Path) -> list[dict]:
    """Read what :func:`keep` wrote."""
    with np.load(path) as file:
        figures = json.loads(str(file["figures"]))
        return [e | {k: file[f"{k}{i}"] / 255 for k in ("grid", "reference")} for i, e in enumerate(figures)]


def write(found: list[dict], arguments: argparse.Namespace) -> None:
    """Write table, figures and pictures."""
    lines = [
        "| task | upsampling | PSNR, dB | SSIM | checkerboard energy | parameters |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for task in dict.fromkeys(entry["task"] for entry in found):
        mine = [entry for entry in found if entry["task"] == task]
        draw(task, mine)
        for e in mine:
            cells = (task, e["candidate"], f"{e['psnr']:.2f}", f"{e['ssim']:.4f}", f"{e['energy']:.2e}")
            lines.append(f"| {' | '.join(cells)} | {e['parameters']:,} |")
    note = (
        f"{found[0]['steps']} steps of {BATCH} crops of {EDGE} x {EDGE}, one seed; held-out crops of other pictures "
        f"(energy of those: {found[0]['natural']:.2e}). Inpainting: over the whole crop, what lies outside of the hole "
        "being given. Generator: PSNR and SSIM of crops it learned, energy of new pictures."
    )
    figures = [{k: v for k, v in e.items() if k not in ("grid", "reference")} for e in found]
    text = "\n".join([f"{note} Trained on {arguments.trained_on}.", "", *lines]) + "\n"
    (RESULTS / "reconstruction.md").write_text(text)
    payload = {"trained_on": arguments.trained_on, "results": figures}
    (RESULTS / "reconstruction.json").write_text(json.dumps(payload, indent=1) + "\n")
    if arguments.into:
        write_into(arguments.into, "reconstruction", text)
    print(text)


if __name__ == "__main__":
    main()
