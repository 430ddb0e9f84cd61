"""One page a method, from the registry, the notes beside the pages, and the module's own docstring."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import karaffe
from karaffe.upsamplers import UpsamplerInfo

PROPERTIES = {
    "convex": "every value lies between the smallest and largest of its source window",
    "unit_sum": "a constant map stays constant",
    "shift_equivariant": "a shift by whole source pixels shifts the result",
}
SIZES = {
    "any": "any target size",
    "crop": "s times the source, or a crop of it",
    "exact": "s times the source exactly",
    "pooled": "the size that was pooled",
}


BLIND = ("deconv", "pixel-shuffle", "resize-conv")


def title(info: UpsamplerInfo) -> str:
    return f"`{info.name}`"


def page(info: UpsamplerInfo, notes: dict[str, str]) -> str:
    """The page's Markdown; what notes say of sizes or a promise takes the place of the general words."""
    cls = info.cls.__name__
    needs = f"x and a guide: {info.guide_is}" if info.needs_guide else "x, and nothing else"
    kept = [notes.get(name, text) for name, text in PROPERTIES.items() if getattr(info, name)] or ["none is promised"]
    parts = [
        f"# {title(info)}\n",
        f"{info.summary[0].upper()}{info.summary[1:]}.\n",
        f"    {info.equation}\n",
        f"*{info.paper}*\n",
        f"![How `{info.name}` works](../assets/methods/{info.name}.svg)\n",
        "## What it needs\n",
        f"- Reads {needs}.",
        f"- Gives {notes.get('sizes', SIZES[info.sizes])}; {' or '.join(map(str, info.dims))} spatial axes.",
        f"- Starts as {', '.join(info.inits) if info.inits else 'itself: there is nothing to learn'}.",
        "\nPromised and tested: " + "; ".join(kept) + ".\n",
        "```python",
        "import karaffe\n",
        f'upsampler = karaffe.create_upsampler("{info.name}", channels=64, scale_factor=2)',
        f"assert isinstance(upsampler, karaffe.upsamplers.{cls})",
        "```\n",
        "## Where it shines and where it fails\n",
        f"{notes['shines']}\n",
        f"{notes['fails']}\n",
        "## Cost\n",
        *cost_table(info),
        "\n## Looking at it\n",
        f"![{caption(info)}](../assets/methods/{info.name}.png)\n",
        f"{caption(info)}.\n",
    ]
    if "checkpoint" in notes:
        parts += [
            "## Loading the original's weights\n",
            f"{notes['checkpoint']}\n",
            "```py",
            'karaffe.load_checkpoint(upsampler, "checkpoint.pth")  # says which layout it recognised',
            "```\n",
        ]
    parts += ["## Reference\n", f"::: karaffe.upsamplers.{cls}"]
    return "\n".join(parts) + "\n"


def caption(info: UpsamplerInfo) -> str:
    if hasattr(info.cls, "offsets"):
        return "Where it learned to look, on features of a photograph"
    if hasattr(info.cls, "kernels"):
        after = ", after a minute of training on it" if info.learned else ""
        return f"Kernels it predicts for two targets of a photograph{after}"
    if info.learned and info.name not in ("deconv", "resize-conv", "pixel-shuffle"):
        return "A channel of a photograph's features, and what it makes of it after a short training on it"
    return "What one source pixel becomes: the impulse response at x4"


def cost_table(info: UpsamplerInfo) -> list[str]:
    """Parameters and multiply-adds at x2 for the widths that papers use."""
    lines = ["| channels | parameters | multiply-adds a source pixel |", "|---|---|---|"]
    for channels in (64, 256):
        cost = karaffe.create_upsampler(info.name, channels).cost(16)
        lines.append(f"| {channels} | {cost.parameters:,} | {cost.macs / 256:,.0f} |")
    return lines


GROUPS: dict[str, Callable[[UpsamplerInfo], bool]] = {
    "By position alone": lambda i: not i.learned and not i.needs_guide,
    "Learned, the same everywhere": lambda i: i.name in BLIND,
    "By the content of the map": lambda i: i.learned and not i.needs_guide and i.name not in BLIND,
    "By the map and what the encoder kept": lambda i: i.needs_guide and "image" not in i.guide_is,
    "By the map and an image": lambda i: i.needs_guide and "image" in i.guide_is,
}


def index(infos: list[UpsamplerInfo]) -> str:
    """The page that lists the methods with what each promises."""
    lines = [
        "# Methods\n",
        "What each declares is tested, and `karaffe upsamplers` prints the same with costs. *Convex*: "
        f"{PROPERTIES['convex']}. *Constant*: {PROPERTIES['unit_sum']}. *Shift*: {PROPERTIES['shift_equivariant']}. "
        "*As interpolation*: the untrained module can equal bilinear interpolation.",
    ]
    for group, belongs in GROUPS.items():
        lines += [
            f"\n## {group}\n",
            "| method | convex | constant | shift | as interpolation | target sizes | axes |",
            "|---|---|---|---|---|---|---|",
        ]
        for info in (i for i in infos if belongs(i)):
            marks = ["yes" if getattr(info, name) else "–" for name in PROPERTIES]
            start = "yes" if "bilinear" in info.inits else "–"
            cells = [f"[{info.name}]({info.name}.md)", *marks, start, info.sizes, ", ".join(map(str, info.dims))]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["\nTarget sizes: " + "; ".join(f"*{name}*: {text}" for name, text in SIZES.items()) + "."]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> list[Path]:
    """Write all pages into ``folder``; the files that were written."""
    notes = tomllib.loads((folder / "notes.toml").read_text(encoding="utf-8"))
    infos = [karaffe.describe_upsampler(name) for name in karaffe.list_upsamplers()]
    pages = {info.name: page(info, notes[info.name]) for info in infos} | {"index": index(infos)}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return [folder / f"{name}.md" for name in pages]
