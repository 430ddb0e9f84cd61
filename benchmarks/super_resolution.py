"""PSNR and SSIM of the super-resolution models beside bicubic interpolation, as a Markdown table.

A set is a folder with ``x2/HR``, ``x2/LR``, … (MATLAB's reductions, as the papers' copies of Set5 and Set14), or a
folder of photographs, which are reduced here in the same way. Every figure is on the papers' protocol, which is
printed above the table.

    python benchmarks/super_resolution.py examples/pictures ../shared/data/Set5 ../shared/data/Set14

``--into FILE`` replaces what stands between the lines ``<!-- figures -->`` and ``<!-- end -->`` of a document.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from karaffe.evaluation import PAPERS
from karaffe.evaluation.images import Image
from karaffe.evaluation.pictures import crop_to_multiple, expand, read_picture, reduce
from karaffe.models import SuperResolver, create_model, describe_model


def pairs(folder: Path, scale: int) -> Iterator[tuple[Image, Image]]:
    """Yield source and target of every picture of a set."""
    recorded = folder / f"x{scale}"
    for path in expand([recorded / "HR" if recorded.is_dir() else folder]):
        target = crop_to_multiple(read_picture(path), scale)
        yield read_picture(recorded / "LR" / path.name) if recorded.is_dir() else reduce(target, scale), target


def enlarge(model: SuperResolver, source: Image) -> Image:
    """Enlarge an 8-bit picture and round it to 8 bit."""
    x = torch.from_numpy(np.atleast_3d(source).astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        y = model(x)[0].permute(1, 2, 0).clamp(0, 1)
    return (y * 255).round().to(torch.uint8).numpy().reshape(*y.shape[:2], *source.shape[2:])


def scores(folder: Path, scale: int, names: list[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the mean PSNR and SSIM of each model on a set."""
    models = {name: create_model(name, scale) for name in names}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for source, target in pairs(folder, scale):
        for name, model in models.items():
            found[name].append(PAPERS.measure(enlarge(model, source), target, scale))
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def table(sets: list[Path], scales: list[int], models: list[str]) -> str:
    """Return the protocol and the Markdown table."""
    lines = [PAPERS.describe() + ".", ""]
    lines.append("| set | scale | " + " | ".join(f"`{name}`" for name in models) + " |")
    lines.append("|---|---|" + "---|" * len(models))
    for folder in sets:
        for scale in scales:
            names = [n for n in models if scale in (describe_model(n).scales or (scale,))]
            found = scores(folder, scale, names)
            cells = [f"{found[n][0]:.2f} / {found[n][1]:.4f}" if n in found else "–" for n in models]
            lines.append(f"| {folder.name} | x{scale} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def replace_figures(document: Path, text: str) -> None:
    """Put ``text`` between the marks of ``document``."""
    before, _, rest = document.read_text(encoding="utf-8").partition("<!-- figures -->\n")
    _, _, after = rest.partition("<!-- end -->")
    document.write_text(f"{before}<!-- figures -->\n{text}\n<!-- end -->{after}", encoding="utf-8")


def main() -> None:
    """Print the table, or put it into a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--models", nargs="+", default=["bicubic", "lanczos", "sharp", "faithful"])
    parser.add_argument("--scales", nargs="+", type=int, default=[2, 3, 4])
    parser.add_argument("--into", type=Path, help="document to put the table into")
    arguments = parser.parse_args()
    text = table(arguments.sets, arguments.scales, arguments.models)
    if arguments.into is None:
        print(text)
    else:
        replace_figures(arguments.into, text)


if __name__ == "__main__":
    main()
