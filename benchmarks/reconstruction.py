"""What upsampling does to pictures that a network makes: an autoencoder, inpainting, and a generator.

    python benchmarks/reconstruction.py --raw FOLDER       # all three, on a GPU where there is one
    python benchmarks/reconstruction.py --raw FOLDER --tasks generator --candidates deconv-3,carafe --steps 200
    python benchmarks/reconstruction.py --raw FOLDER --write --into docs/guide/segment.md

What is trained already lies in FOLDER, a file each, and is not trained again; what is written keeps the stored figures
of tasks that FOLDER has nothing of. Every candidate is trained on the same crops with the same seed. Checkerboard
energy is the share of a picture's variance that repeats with the stride of the upsampling; of the pictures held out it
is the reference. The generator learns one latent vector a crop (Bojanowski et al., *Optimizing the latent space of
generative networks*, ICML 2018), and new pictures are decoded from a Gaussian fitted to them.
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
EDGE, STRIDE, LATENT, CROPS = 64, 2, 64, 128
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

    def __call__(self, step: int, count: int) -> Tensor:
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


def train(task: str, name: str, steps: int, batch: int, device: str) -> dict:
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
            chosen = torch.from_numpy(np.random.Generator(np.random.Philox(key=step)).integers(CROPS, size=batch))
            source, target = model.latents[chosen.to(device)], fixed[chosen.to(device)]
        else:
            source = target = crops(step, batch)
        loss = F.l1_loss(forward(task, model, source, step), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = results(task, model, held)
    if fixed is None:
        remade, compared = made, held
    else:  # How well the crops it learned come back; new pictures have nothing to be compared with.
        with torch.no_grad():
            remade, compared = model(model.latents[:64]).clamp(0, 1), fixed[:64]
    pairs = [(to_array(a), to_array(b)) for a, b in zip(remade, compared, strict=True)]
    return {
        "task": task,
        "candidate": name,
        "steps": steps,
        "batch": batch,
        "psnr": float(np.mean([psnr(a, b) for a, b in pairs])),
        "ssim": float(np.mean([ssim(a.mean(2), b.mean(2)) for a, b in pairs])),
        "energy": energy(made),
        "energies": energies,
        "parameters": sum(p.numel() for p in model.parameters()),
        "natural": energy(held),
        "grid": row(made),
        "reference": row(held),
        "given": row(held * (1 - holes(0, len(held), held.device))),
    }


def row(images: Tensor) -> np.ndarray:
    """Return the first six beside each other."""
    return np.concatenate([to_array(image) for image in images[:6]], axis=1)


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
    shown = {"autoencoder": ["reference"], "inpainting": ["reference", "given"], "generator": []}[task]
    rows = [found[0][kind] for kind in shown] + [f["grid"] for f in found]
    names = ["original", "given"][: len(shown)] + [f["candidate"] for f in found]
    canvas = Figure(figsize=(7, 1.15 * len(rows)), layout="constrained")
    for axes, row, name in zip(np.atleast_1d(canvas.subplots(len(rows))), rows, names, strict=True):
        axes.imshow(np.repeat(np.repeat(row, 2, 0), 2, 1), interpolation="nearest")
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    canvas.savefig(ASSETS / f"{task}.png", dpi=100, metadata={"Software": None})
    Image.open(ASSETS / f"{task}.png").convert("RGB").quantize(192).save(ASSETS / f"{task}.png", optimize=True)
    chart = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = chart.subplots()
    for f in found:
        axes.plot(*zip(*f["energies"], strict=True), label=f["candidate"])
    axes.axhline(found[0]["natural"], color="0.5", linestyle=":", label="photographs")
    # Below this nothing is to be seen; an untrained decoder may have none at all.
    axes.set(xlabel="step", ylabel="checkerboard energy", yscale="log", ylim=(1e-6, 1))
    axes.legend(frameon=False, fontsize=8, ncols=2)
    chart.savefig(ASSETS / f"{task}_energy.png", dpi=100, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="folder of what was found, a file a task and candidate")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--candidates", default=CANDIDATES)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--trained-on", default="this machine", help="what trains them, for the note")
    parser.add_argument("--backend", help="of karaffe's operators: reference, cpu, triton (default: by device)")
    parser.add_argument("--write", action="store_true", help="train nothing: write table, charts and pictures")
    parser.add_argument("--into", type=Path, help="a page whose part between <!-- reconstruction --> and <!-- end -->")
    arguments = parser.parse_args()
    if arguments.write:
        write([kept(path) for path in sorted(arguments.raw.glob("*.npz"))], arguments.into)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    arguments.raw.mkdir(parents=True, exist_ok=True)
    with use_backend(arguments.backend):
        for task in arguments.tasks.split(","):
            for name in arguments.candidates.split(","):
                path = arguments.raw / f"{task}_{name}.npz"
                if path.exists():
                    continue
                found = train(task, name, arguments.steps, arguments.batch, device)
                keep(found | {"trained_on": arguments.trained_on}, path)
                print(f"{task} {name}: {found['psnr']:.2f} dB, {found['ssim']:.4f}, {found['energy']:.2e}", flush=True)


GRIDS = ("grid", "reference", "given")


def keep(found: dict, path: Path) -> None:
    """Write what was found of one candidate into a file: figures as JSON, grids as they are."""
    grids = {kind: (255 * found[kind]).round().astype(np.uint8) for kind in GRIDS}
    figures = {key: value for key, value in found.items() if key not in GRIDS}
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        np.savez_compressed(file, figures=np.array(json.dumps(figures)), **grids)
    scratch.replace(path)


def kept(path: Path) -> dict:
    """Read what :func:`keep` wrote."""
    with np.load(path) as file:
        return json.loads(str(file["figures"])) | {kind: file[kind] / 255 for kind in GRIDS}


def write(found: list[dict], page: Path | None) -> None:
    """Write table, charts and pictures; what is stored of other tasks stays."""
    order = {name: place for place, name in enumerate(CANDIDATES.split(","))}
    found.sort(key=lambda e: order.get(e["candidate"], len(order)))
    store = RESULTS / "reconstruction.json"
    stored = json.loads(store.read_text())["results"] if store.exists() else []
    for task in dict.fromkeys(entry["task"] for entry in found):
        mine = [entry for entry in found if entry["task"] == task]
        stored = [entry for entry in stored if entry["task"] != task]
        stored += [{key: value for key, value in entry.items() if key not in GRIDS} for entry in mine]
        draw(task, mine)
    stored.sort(key=lambda e: TASKS.index(e["task"]))
    text = table(stored)
    (RESULTS / "reconstruction.md").write_text(text)
    store.write_text(json.dumps({"results": stored}, indent=1) + "\n")
    if page:
        write_into(page, "reconstruction", text)
    print(text)


def table(entries: list[dict]) -> str:
    """Return the figures as Markdown."""
    lines = ["| task | upsampling | PSNR, dB | SSIM | checkerboard energy | parameters |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for e in entries:
        cells = (e["task"], e["candidate"], f"{e['psnr']:.2f}", f"{e['ssim']:.4f}", f"{e['energy']:.2e}")
        lines.append(f"| {' | '.join(cells)} | {e['parameters']:,} |")
    budgets = dict.fromkeys(
        f"{e['task']}, {e['steps']} steps of {e['batch']} crops of {EDGE} x {EDGE}, on {e['trained_on']}"
        for e in entries
    )
    note = (
        f"{'; '.join(budgets)}. One seed; held-out crops of other pictures (energy of those: "
        f"{entries[0]['natural']:.2e}). Inpainting: over the whole crop, what lies outside of the hole being given. "
        f"Generator: PSNR and SSIM of the {CROPS} crops it learned, energy of new pictures."
    )
    return "\n".join([f"{note[0].upper()}{note[1:]}", "", *lines]) + "\n"


if __name__ == "__main__":
    main()
