"""``karaffe bench``: reassembly on this machine beside the usual copy and plain interpolation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from karaffe import ops
from karaffe.cli.common import Json, Seed, Threads, console, print_json, table, use_threads
from karaffe.evaluation.speed import Times, interleave, unfold_copy


def bench(
    channels: Annotated[int, typer.Option(min=1, help="Channels of the source map.")] = 256,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the source map.")] = 64,
    scale: Annotated[int, typer.Option(min=1, help="Factor.")] = 2,
    kernel: Annotated[int, typer.Option(min=1, help="Kernel size, odd.")] = 5,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds; the median is shown.")] = 7,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Time reassembly here, side by side with the usual PyTorch copy and with F.interpolate."""
    if kernel % 2 == 0:
        raise typer.BadParameter(f"must be odd; got {kernel}", param_hint="--kernel")
    use_threads(threads)
    torch.manual_seed(seed)
    x = torch.randn(1, channels, size, size)
    kernels = torch.randn(1, kernel**2, scale * size, scale * size).softmax(1)
    calls: dict[str, Callable[[], Tensor]] = {"unfold copy": partial(unfold_copy, x, kernels, kernel, scale)}
    for backend in ops.backends():
        if backend.available and backend.device in (None, "cpu"):
            calls[f"karaffe ({backend.name})"] = partial(ops.reassemble, x, kernels, kernel, backend=backend.name)
    wanted = calls["unfold copy"]()
    for name, call in calls.items():
        if not torch.allclose(call(), wanted, rtol=1e-4, atol=1e-4):
            raise RuntimeError(f"{name} disagrees with the unfold copy; no speed is reported")
    for mode in ("nearest", "bilinear"):
        calls[f"F.interpolate {mode}"] = partial(F.interpolate, x, scale_factor=scale, mode=mode)
    with torch.inference_mode():
        times = interleave(calls, rounds, seconds=0)
    _show(times, f"(1, {channels}, {size}, {size}) x{scale}, kernel {kernel}", as_json)


def _show(times: dict[str, Times], what: str, as_json: bool) -> None:
    if as_json:
        seconds = {name: [t / 1e3 for t in each.rounds] for name, each in times.items()}
        medians = {name: each.median / 1e3 for name, each in times.items()}
        print_json({"what": what, "threads": torch.get_num_threads(), "median_seconds": medians, "seconds": seconds})
        return
    rows = table(f"{what}, {torch.get_num_threads()} threads", "method", "ms", "fastest", "x the copy", right=("ms",))
    for name, each in times.items():
        faster = times["unfold copy"].over(each)
        rows.add_row(name, f"{each.median:.2f}", f"{min(each.rounds):.2f}", f"{faster:.1f}")
    console.print(rows, highlight=False)
