"""``karaffe bench``: reassembly on this machine beside the usual copy and plain interpolation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from karaffe import ops
from karaffe.cli.common import Json, Seed, Threads, console, print_json, table, use_threads

Call = Callable[[], Tensor]


def _unfold_copy(x: Tensor, kernels: Tensor, k: int, s: int) -> Tensor:
    """How reassembly is usually written in plain PyTorch: k² copies of the input, multiplied and summed."""
    n, c, h, w = x.shape
    windows = F.unfold(x, k, padding=k // 2).view(n, c, k * k, h, 1, w, 1)
    return (windows * kernels.view(n, 1, k * k, h, s, w, s)).sum(2).view(n, c, s * h, s * w)


def _interleaved(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round, the calls taking turns so that noise meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return times


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
    calls: dict[str, Call] = {"unfold copy": partial(_unfold_copy, x, kernels, kernel, scale)}
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
        times = _interleaved(calls, rounds)
    _show(times, f"(1, {channels}, {size}, {size}) x{scale}, kernel {kernel}", as_json)


def _show(times: dict[str, list[float]], what: str, as_json: bool) -> None:
    copy = statistics.median(times["unfold copy"])
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    if as_json:
        print_json({"what": what, "threads": torch.get_num_threads(), "median_seconds": medians, "seconds": times})
        return
    rows = table(f"{what}, {torch.get_num_threads()} threads", "method", "ms", "fastest", "x the copy", right=("ms",))
    for name, seconds in times.items():
        rows.add_row(name, f"{1e3 * medians[name]:.2f}", f"{1e3 * min(seconds):.2f}", f"{copy / medians[name]:.1f}")
    console.print(rows, highlight=False)
