"""Which bound do the operators' kernels hit? Each beside its own arithmetic and traffic alone. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from common import ROOT, earlier, machine, write_results

from karaffe.ops.backends import cpu

SHAPES = ((1, 256, 64, 64), (2, 256, 32, 32), (1, 64, 128, 128), (8, 64, 24, 24), (1, 32, 512, 512), (1, 3, 512, 512))
LAYOUTS, OPERATORS = ("NCHW", "channels-last"), ("reassemble", "correlate", "scatter")
PARTS = ("registers", "inner loop", "laying out", "traffic")
IN_TURN = {"arithmetic and memory": ("inner loop", "traffic"), "arithmetic, laying out and memory": PARTS[1:]}
SAME_WITHIN = 1.15  # a kernel that takes no longer than this many times a part is bound by it
# as in CMakeLists.txt
FLAGS = {
    "portable": (),
    "neon": (),
    "avx2": ("-mavx2", "-mfma", "-mf16c"),
    "avx512": ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"),
}


def compiled(instruction_set: str, folder: Path) -> Path:
    program = folder / "roofline"
    command = [os.environ.get("CXX", "g++"), "-std=gnu++20", "-O3", "-fno-math-errno", "-fno-trapping-math"]
    command += ["-ffp-contract=fast", "-Wno-psabi", "-Icsrc", *FLAGS[instruction_set]]
    command += [f"-DKARAFFE_SET={instruction_set}", f'-DKARAFFE_SET_NAME="{instruction_set}"']
    command += ["benchmarks/roofline.cpp", "csrc/problem.cpp", "-o", str(program)]
    subprocess.run(command, cwd=ROOT, check=True)
    return program


def measured(program: Path, shape: tuple[int, ...], rounds: int) -> Iterator[dict]:
    """A row an operator and layout: medians in ms, and quartiles of the kernel's ratios to its parts by round."""
    done = subprocess.run([program, *map(str, (*shape, rounds))], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for layout, operator in product(LAYOUTS, OPERATORS):
        times = {
            what: [line["ms"] for line in lines if (line["layout"], line["operator"], line["what"]) == of]
            for what in ("kernel", *PARTS)
            for of in [(layout, operator, what)]
        }
        yield {
            "shape": shape,
            "layout": layout,
            "operator": operator,
            "ms": {what: statistics.median(found) for what, found in times.items()},
            "over": {what: statistics.median(map(ratio, times["kernel"], times[what])) for what in PARTS},
            "over_sum": {name: over_sum(times, parts) for name, parts in IN_TURN.items()},
        }


def over_sum(times: dict[str, list[float]], parts: tuple[str, ...]) -> float:
    sums = map(sum, zip(*(times[part] for part in parts), strict=True))
    return statistics.median(map(ratio, times["kernel"], sums))


def ratio(kernel: float, part: float) -> float:
    return kernel / part


def verdict(row: dict) -> str:
    """The bound that a kernel hit; else how far it is from its parts one after the other."""
    nearest = min(("inner loop", "traffic"), key=lambda part: row["over"][part])
    if row["over"][nearest] <= SAME_WITHIN:
        return {"inner loop": "arithmetic", "traffic": "memory"}[nearest]
    for name, over in row["over_sum"].items():
        if over <= SAME_WITHIN:
            return f"{name} in turn"
    return f"none: {over:.2f} x their sum"


def report(rows: list[dict], who: dict[str, str]) -> str:
    lines = [
        "# What bounds the operators' kernels\n",
        "One thread, float32, kernel size 5, factor 2, without torch: medians in ms, timed in turns. *Registers*: the "
        "multiply-adds at the rate of values that never leave the registers. *Inner loop*: the same at the rate of "
        "the kernel's own inner loop on what lies in the first cache: with its loads, of which some cross a cache "
        "line, and its stores. *Laying out*: what it turns from one layout to another before and after, always of the "
        "same row. *Traffic*: what the operator reads and writes, once, in its order and in the runs of "
        "memory of its layout, without arithmetic. *Bound*: the part that takes the kernel's time within "
        f"{SAME_WITHIN - 1:.0%}; where parts together do, each waits for the other.\n",
        "".join(f"- {key}: {value}\n" for key, value in who.items()),
        "| shape | layout | operator | kernel | registers | inner loop | laying out | traffic | kernel / (inner loop "
        "+ traffic) | kernel / all three | bound |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = " | ".join(f"{row['ms'][what]:.3g}" for what in ("kernel", *PARTS))
        shape = "×".join(map(str, row["shape"]))
        lines.append(
            f"| {shape} | {row['layout']} | {row['operator']} | {times} "
            f"| {' | '.join(f'{over:.2f}' for over in row['over_sum'].values())} | {verdict(row)} |"
        )
    return "\n".join(lines) + "\n"


def kept(who: dict[str, str], again: list[tuple[int, ...]]) -> list[dict]:
    """The rows of an earlier run of the same kernels on the same machine at shapes that are not measured again."""
    return [row for row in earlier("roofline", who).get("rows", ()) if tuple(row["shape"]) not in again]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shapes", type=int, nargs="+", default=range(len(SHAPES)), help="which, by number from 0")
    options = parser.parse_args()
    shapes = [SHAPES[number] for number in options.shapes]
    instruction_set = cpu.simd()
    if instruction_set is None:
        raise SystemExit(f"no native kernels: {cpu.why_not()}")
    who = machine() | {"instruction set": instruction_set}
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(instruction_set, Path(folder))
        rows = [row for shape in shapes for row in measured(program, shape, options.rounds)]
    rows = sorted(kept(who, shapes) + rows, key=lambda row: SHAPES.index(tuple(row["shape"])))
    text = report(rows, who)
    print(text)
    print(write_results("roofline", {"machine": who, "rows": rows}, text))


if __name__ == "__main__":
    main()
