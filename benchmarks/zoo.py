"""Figures of trained networks, stored: quality on the usual sets, true multiply-adds, and time on this CPU.

    python benchmarks/zoo.py measure RUN... --sets ../shared/data/Set5 ../shared/data/Set14 ../shared/data/BSD100
    python benchmarks/zoo.py time --most 3          # again and again, until nothing is left
    python benchmarks/zoo.py table --into docs/zoo.md
    python benchmarks/zoo.py chart --into docs/assets/zoo

``measure`` takes run folders that still have their weights, and ``shipped`` for the networks that come with karaffe;
``time`` makes the networks anew, since weights do not change the time, and wants the machine for itself. Everything is
kept in ``results/zoo.json``; what papers published is in ``published_sr.json``.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine
from super_resolution import enlarge, pairs

from karaffe.evaluation import PAPERS
from karaffe.evaluation.speed import interleave
from karaffe.models import SuperResolver, create_model, describe_model, list_models, load_model, multiply_adds
from karaffe.models.checkpoint import read_tensors

HERE = Path(__file__).parent
STORE, PUBLISHED = HERE / "results" / "zoo.json", HERE / "published_sr.json"
WIDTH, HEIGHT = 1280, 720
Entry = dict[str, Any]


def read_store() -> dict[str, Entry]:
    """Return the stored entries by name."""
    return json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}


def write_store(entries: dict[str, Entry]) -> None:
    """Write the entries, sorted, to a temporary name first."""
    scratch = STORE.with_name(STORE.name + ".part")
    scratch.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n", encoding="utf-8")
    scratch.replace(STORE)


def describe(network: SuperResolver, model: str, options: dict[str, Any]) -> Entry:
    """Return what a network is and costs for one channel of 1280x720."""
    pixels = (WIDTH // network.scale) * (HEIGHT // network.scale)
    return {
        "model": model,
        "options": options,
        "scale": network.scale,
        "parameters": sum(p.numel() for p in network.parameters()),
        "giga_multiply_adds": round(multiply_adds(network) * pixels / 1e9, 3),
    }


def of_run(folder: Path) -> tuple[str, Entry, SuperResolver]:
    """Return the name, description and network of a run; of one that is not finished, as its state has it."""
    config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    model, options = config["model"]["name"], config["model"].get("options", {})
    steps = planned = config["optimisation"]["steps"]
    if (folder / "weights.safetensors").exists():
        network = load_model(folder / "weights.safetensors")
    else:
        tensors, metadata = read_tensors(folder / "state")
        network = create_model(model, config["model"]["scale"], pretrained=False, **options).eval()
        network.load_state_dict({k.removeprefix("mean/"): v for k, v in tensors.items() if k.startswith("mean/")})
        steps = int(metadata["step"])
    entry = describe(network, model, options) | {
        "data": Path(config["data"]["folder"]).name,
        "steps": steps,
        "seed": config["optimisation"]["seed"],
        "held_out": round([line["psnr"] for line in lines if "psnr" in line][-1], 3),
    }
    return folder.name, entry | ({"planned": planned} if steps < planned else {}), network


def shipped() -> Iterable[tuple[str, Entry, SuperResolver]]:
    """Yield the networks that come with weights."""
    for name in list_models():
        if describe_model(name).learned:
            for scale in describe_model(name).scales or ():
                network = create_model(name, scale)
                yield f"{name}_x{scale}", describe(network, name, {}) | {"data": "shipped"}, network


def measure(runs: list[str], sets: list[Path]) -> None:
    """Measure networks on sets and store the figures."""
    entries = read_store()
    found = [of_run(Path(run)) for run in runs if run != "shipped"] + (list(shipped()) if "shipped" in runs else [])
    by_scale: dict[int, list[tuple[str, SuperResolver]]] = {}
    for name, entry, network in found:
        by_scale.setdefault(network.scale, []).append((name, network))
        kept = entries.get(name, {})
        twins = [e for e in entries.values() if "machine" in e and of_one_form(e) == of_one_form(entry)]
        if twins and "machine" not in kept:  # weights do not change the time
            kept = kept | {key: twins[0][key] for key in ("milliseconds", "machine")}
        entries[name] = entry | {key: kept[key] for key in ("milliseconds", "machine") if key in kept}
        entries[name]["figures"] = kept.get("figures", {})
    for scale, networks in by_scale.items():
        for folder in sets:
            if (folder / "x4").is_dir() and not (folder / f"x{scale}").is_dir():
                continue
            scores: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in networks}
            for source, target in pairs(folder, scale):
                for name, network in networks:
                    scores[name].append(PAPERS.measure(enlarge(network, source), target, scale))
            for name, values in scores.items():
                psnr, ssim = np.mean(values, axis=0)
                entries[name]["figures"][folder.name] = [round(float(psnr), 3), round(float(ssim), 4)]
                print(f"{name} {folder.name} {psnr:.2f} / {ssim:.4f}", flush=True)
            write_store(entries)


def time_some(rounds: int, threads: int, most: int) -> None:
    """Time a pass to 1280x720 of networks that have no time yet on this machine, in turns, and store the medians in ms.

    At most ``most`` networks go at once, so that a part is short; bicubic goes with every part, and its times show
    whether the machine was the same. The same call goes on with the next part until nothing is left.
    """
    torch.set_num_threads(threads)
    info = machine() | {"threads": str(threads)}
    where = f"{info['processor']}, {threads} thread{'s' if threads > 1 else ''}, torch {info['torch']}"
    entries, calls = read_store(), {}
    keys = {n: of_one_form(e) for n, e in entries.items()}
    for name, entry in entries.items():
        if entry.get("machine") == where or keys[name] in calls or len(calls) == most:
            continue
        network = create_model(entry["model"], entry["scale"], pretrained=False, **entry["options"]).eval()
        calls[keys[name]] = one_pass(network)
    if not calls:
        print("every stored network has its time")
        return
    with torch.inference_mode():
        times = interleave({"bicubic x4": one_pass(create_model("bicubic", 4)), **calls}, rounds)
    print(f"bicubic x4 {times['bicubic x4'].median:.1f} ms")
    for name, entry in entries.items():
        if keys[name] in calls:
            entry |= {"milliseconds": round(times[keys[name]].median, 2), "machine": where}
            print(f"{name} {entry['milliseconds']} ms")
    write_store(entries)


def of_one_form(entry: Entry) -> str:
    """Return what two entries share whose networks differ in their weights alone."""
    return json.dumps([entry["model"], entry["scale"], entry["options"]])


def one_pass(network: SuperResolver) -> Callable[[], torch.Tensor]:
    """Return a call that makes one channel of 1280x720."""
    x = torch.rand(1, 1, HEIGHT // network.scale, WIDTH // network.scale)
    return lambda: network(x)


def label(name: str) -> str:
    """The name without its seed."""
    return re.sub(r"_seed\d+$", "", name)


def grouped(entries: dict[str, Entry], scale: int) -> dict[str, list[Entry]]:
    """Return the entries of a scale, those of several seeds together."""
    groups: dict[str, list[Entry]] = {}
    for name, entry in entries.items():
        if entry["scale"] == scale:
            groups.setdefault(label(name), []).append(entry)
    return groups


def figure(group: list[Entry], dataset: str, which: int = 0) -> float | None:
    """The mean over the seeds of a figure: 0 is PSNR, 1 is SSIM."""
    values = [e["figures"][dataset][which] for e in group if dataset in e["figures"]]
    return statistics.mean(values) if values else None


def table() -> str:
    """Return the stored figures and the published ones as Markdown, a table a scale."""
    entries, published = read_store(), json.loads(PUBLISHED.read_text(encoding="utf-8"))
    lines = [PAPERS.describe() + ". Multiply-adds as executed for 1280x720.", ""]
    for scale in (2, 3, 4):
        sets = ["Set5", "Set14", "BSD100"] if scale == 4 else ["Set5", "Set14"]
        rows = []
        for name, group in grouped(entries, scale).items():
            one = group[0]
            cells = ["–" if (v := figure(group, s)) is None else f"{v:.2f} / {figure(group, s, 1):.4f}" for s in sets]
            seeds = f" ({len(group)} seeds)" if len(group) > 1 else ""
            seeds += f" ({one['steps']:,} of {one['planned']:,} steps)" if "planned" in one else ""
            time = f"{one['milliseconds']:.0f}" if one.get("milliseconds") else "–"
            row = [f"{name}{seeds}", one["data"], f"{one['parameters']:,}", f"{one['giga_multiply_adds']:.2f}", time]
            rows.append((one["data"] != "shipped", one["giga_multiply_adds"], [*row, *cells]))
        for one in published["networks"]:
            if one["scale"] == scale:
                cells = [f"{one[s]:.2f}" if s in one else "–" for s in sets]
                row = [one["name"], "as published", one["parameters"], f"{one['giga']:.2f}", "–", *cells]
                rows.append((2, one["giga"], row))
        heads = ["network", "trained on", "parameters", "G multiply-adds", "ms", *sets]
        lines += [f"### x{scale}", "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        lines += ["| " + " | ".join(row) + " |" for *_, row in sorted(rows, key=lambda r: r[:2])] + [""]
    times = {e["machine"] for e in entries.values() if e.get("machine")}
    if times:
        lines.append(f"ms: one channel to 1280x720 on {'; '.join(sorted(times))}.")
    return "\n".join(lines).rstrip()


def chart(folder: Path, scale: int, dataset: str) -> None:
    """Draw quality against true multiply-adds, published and ours, and against measured CPU time."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "karaffe"
    from matplotlib import pyplot as plt

    groups, published = grouped(read_store(), scale), json.loads(PUBLISHED.read_text(encoding="utf-8"))
    points = {n: (g, q) for n, g in groups.items() if (q := figure(g, dataset)) is not None and "search" not in n}
    keys = ["giga_multiply_adds"]
    if any(group[0].get("milliseconds") for group, _ in points.values()):
        keys.append("milliseconds")
    width = 5.5 * len(keys) + 1
    picture, grid = plt.subplots(1, len(keys), figsize=(width, 4.6), sharey=True, layout="constrained", squeeze=False)
    axes = grid[0]
    theirs = [one for one in published["networks"] if one["scale"] == scale and dataset in one]
    axes[0].scatter([o["giga"] for o in theirs], [o[dataset] for o in theirs], c="0.6", marker="x", label="published")
    for one in theirs:
        axes[0].annotate(one["name"], (one["giga"], one[dataset]), fontsize=7, color="0.4")
    for data, marker, colour in (("shipped", "o", "#00796b"), ("BSDS400-train", "s", "#c2571a")):
        mine = {n: p for n, p in points.items() if p[0][0]["data"] == data}
        words = "shipped: trained on freely redistributable pictures" if data == "shipped" else "ours on BSDS400"
        for ax, key in zip(axes, keys, strict=True):
            placed = {n: (g[0][key], q) for n, (g, q) in mine.items() if g[0].get(key)}
            if placed:
                ax.scatter(*zip(*placed.values(), strict=True), c=colour, marker=marker, label=words)
            for name, place in placed.items():
                ax.annotate(name.removesuffix(f"_x{scale}"), place, fontsize=7, color=colour)
    words = {"giga_multiply_adds": "true multiply-adds, G", "milliseconds": "CPU time, ms, one thread"}
    for ax, key in zip(axes, keys, strict=True):
        ax.set_xlabel(f"{words[key]}, for 1280x720")
    axes[0].set_ylabel(f"PSNR on {dataset} x{scale}, dB")
    for ax in axes:
        ax.set_xscale("log")
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    picture.savefig(folder / f"{dataset.lower()}_x{scale}.svg", metadata={"Date": None})


def main() -> None:
    """Measure, time, or show what is stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("runs", nargs="+")
    measuring.add_argument("--sets", nargs="+", type=Path, required=True)
    timing = commands.add_parser("time")
    timing.add_argument("--rounds", type=int, default=9)
    timing.add_argument("--threads", type=int, default=1)
    timing.add_argument("--most", type=int, default=100, help="networks in this part; call again for the next")
    commands.add_parser("table").add_argument("--into", type=Path)
    commands.add_parser("chart").add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments.runs, arguments.sets)
    elif arguments.command == "time":
        time_some(arguments.rounds, arguments.threads, arguments.most)
    elif arguments.command == "chart":
        for scale in (2, 4):
            for dataset in ("Set5", "Set14"):
                chart(arguments.into, scale, dataset)
    elif arguments.into is None:
        print(table())
    else:
        from super_resolution import replace_figures

        replace_figures(arguments.into, table())


if __name__ == "__main__":
    main()
