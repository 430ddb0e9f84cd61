"""The native kernels of local attention: every instruction set against the formula, in output and every gradient."""

from __future__ import annotations

import sys

import pytest
import torch
from attention_oracle import PADDING, Attention, attentions
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native import DTYPES, FORMATS, INSTRUCTION_SETS, in_a_process
from torch import Tensor

from karaffe import ops
from karaffe.ops.backends import cpu
from oracle import TOLERANCE, assert_close

pytestmark = pytest.mark.skipif(cpu.why_not() is not None, reason=f"native kernels: {cpu.why_not()}")

CHANNELS = (1, 3, 8, 16, 21, 40, 70)


@st.composite
def wide_attentions(draw: st.DrawFn) -> Attention:
    """Sizes around those of vectors, blocks and tiles; targets that share windows in every number."""
    kernel_size = draw(st.tuples(st.integers(1, 5), st.integers(1, 7)))
    padding_mode = draw(st.sampled_from(PADDING))
    least = kernel_size if padding_mode == "shift" else (1, 1)
    sizes = (
        draw(st.integers(least[0], max(least[0], 6))),
        max(least[1], draw(st.sampled_from((1, 2, 5, 8, 17, 40)))),
    )
    factors = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    targets = tuple(s * f for s, f in zip(sizes, factors, strict=True))
    if draw(st.booleans()):
        targets = (draw(st.integers(1, 9)), draw(st.integers(1, 70)))
    heads = draw(st.integers(1, 2))
    return Attention(
        sizes,
        targets,
        kernel_size,
        batch=draw(st.integers(1, 2)),
        channels=heads * draw(st.sampled_from(CHANNELS)),
        values=heads * draw(st.sampled_from(CHANNELS)),
        heads=heads,
        padding_mode=padding_mode,
        alignment=draw(st.sampled_from(("corner", "center", "align_corners"))),
        biased=draw(st.booleans()),
    )


def with_gradients(case: Attention, tensors: list[Tensor], grad: Tensor, backend: str) -> list[Tensor]:
    query, key, value, *bias = leaves = [t.detach().requires_grad_() for t in tensors]
    extra = {"bias": bias[0] if bias else None, "backend": backend}
    out = ops.local_attention(query, key, value, case.kernel_size, **case.options, **extra)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.to(out.dtype))]


def agrees(case: Attention, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    exact = case.tensors(dtype)
    tensors = [t.contiguous(memory_format=memory_format) if t.dim() == 4 else t for t in exact]
    shape = (case.batch, case.values, *case.targets)
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    wanted = with_gradients(case, [t.double() for t in exact], grad.double(), "reference")
    got = with_gradients(case, tensors, grad, "cpu")
    for name, a, b in zip(("output", "query", "key", "value", "bias"), got, wanted, strict=False):
        assert a.dtype == dtype
        assert_close(a, b, f"{name} {case} {dtype} {memory_format}", 3 * TOLERANCE[dtype])
    for a, like in zip(got, (tensors[2], *tensors), strict=False):
        kept = memory_format if like.dim() == 4 and not like.is_contiguous() else torch.contiguous_format
        assert a.is_contiguous(memory_format=kept), f"{case}: {a.stride()}"


@given(case=wide_attentions(), dtype=DTYPES, memory_format=FORMATS)
@settings(max_examples=60, deadline=None)
def test_two_axes(case: Attention, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    agrees(case, dtype, memory_format)


@given(case=attentions(), dtype=DTYPES)
@settings(max_examples=60, deadline=None)
def test_every_geometry(case: Attention, dtype: torch.dtype) -> None:
    """One to three axes, sparse taps, dilation, any alignment and border."""
    agrees(case, dtype, torch.contiguous_format)


GLOBAL = Attention((6, 7), (24, 35), (11, 13), channels=16, values=24, heads=2)
WIDE = [
    GLOBAL,
    Attention((5, 6), (80, 96), (5, 5), batch=1, channels=8, values=8, padding_mode="shift", biased=True),
    Attention((40,), (80,), (9,), channels=8, values=16, heads=2, dilation=(3,), padding_mode="shift"),
    Attention((4, 6, 9), (8, 12, 18), (3, 3, 3), channels=8, values=8, padding_mode="zeros"),
    Attention((12, 11), (5, 4), (5, 5), channels=8, values=8, padding_mode="reflect", dilation=(2, 3)),
    Attention((2, 3), (2, 400), (2, 3), channels=4, values=4),
]


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("case", WIDE, ids=str)
def test_windows_and_cells_of_all_sizes(case: Attention) -> None:
    agrees(case, torch.float64, torch.contiguous_format)
    agrees(case, torch.float32, torch.channels_last)


PLANES = [
    Attention((5, 3), (5, 3), (3, 3), channels=70, values=3, biased=True),
    Attention((5, 8), (15, 24), (3, 3), channels=4, values=16, heads=2, padding_mode="zeros"),
    Attention((9, 11), (18, 22), (5, 5), channels=65, values=37, padding_mode="replicate", biased=True),
    Attention((4, 17), (16, 68), (5, 5), channels=6, values=10, heads=2, biased=True),
    Attention((2, 9), (4, 18), (7, 7), channels=5, values=4, padding_mode="reflect"),
    Attention((6, 40), (12, 80), (7, 7), channels=6, values=6, alignment="center"),
]


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("case", PLANES, ids=str)
def test_square_windows_at_whole_factors(case: Attention) -> None:
    """On planes these have a kernel of their own, whose log-sums backward takes like the other's."""
    agrees(case, torch.float32, torch.contiguous_format)
    query, key, value, *bias = case.tensors(torch.float32)
    everywhere = bias[0].reshape(1, -1).expand(case.batch, -1) if bias else None
    options = (list(case.kernel_size), case.heads, 0.7, None, [1, 1], case.padding_mode, case.alignment)
    with torch.no_grad():
        planes = torch.ops.karaffe.local_attention(query, key, value, everywhere, *options)
        last = [t.contiguous(memory_format=torch.channels_last) for t in (query, key, value)]
        pixels = torch.ops.karaffe.local_attention(*last, everywhere, *options)
    for name, a, b in zip(("output", "log-sum"), planes, pixels, strict=True):
        assert_close(a, b, name)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_instruction_set(instruction_set: str) -> None:
    result = in_a_process(
        "import sys, torch\n"
        "try:\n"
        "    import karaffe.ops\n"
        "except RuntimeError as error:\n"
        "    assert 'is not to be had here' in str(error)\n"
        "    sys.exit(77)\n"
        "sys.path[:0] = ['tests', 'tests/ops']\n"
        "import test_native_attention as t\n"
        f"assert t.cpu.simd() == {instruction_set!r}\n"
        "t.test_two_axes()\n"
        "t.test_every_geometry()\n"
        "for case in t.WIDE:\n"
        "    t.agrees(case, torch.float32, torch.contiguous_format)\n",
        KARAFFE_SIMD=instruction_set,
    )
    if result.returncode == 77:
        pytest.skip(f"this processor has no {instruction_set}")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("padding_mode", ["mask", "shift", "reflect"])
def test_bits_do_not_depend_on_threads(padding_mode: str, memory_format: torch.memory_format) -> None:
    case = Attention((23, 18), (46, 36), (5, 5), 2, 24, 40, 2, padding_mode=padding_mode, biased=True)
    tensors = [t.contiguous(memory_format=memory_format) if t.dim() == 4 else t for t in case.tensors(torch.float32)]
    grad = torch.randn(2, 40, 46, 36)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(with_gradients(case, tensors, grad, "cpu"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_both_passes_are_native() -> None:
    for name in ("local_attention", "local_attention_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"karaffe::{name}", "CPU")


@pytest.mark.skipif(sys.platform != "linux", reason="the largest resident size is read as Linux counts it")
@pytest.mark.parametrize(("kernel_size", "size", "most"), [(15, 256, 25), (7, 512, 35)])
def test_nothing_of_the_windows_size_is_in_memory(kernel_size: int, size: int, most: int) -> None:
    """Scores of 15 x 15 taps at 256 x 256 targets would take 59 MB, of 7 x 7 at 512 x 512 targets 51 MB."""
    result = in_a_process(
        "import resource, torch\n"
        "from karaffe import ops\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        f"q, k, v = (torch.randn(1, 8, n, n, requires_grad=True) for n in ({size}, {size // 2}, {size // 2}))\n"
        f"ops.local_attention(q[..., :4, :4], k[..., :4, :4], v[..., :4, :4], {kernel_size}).sum().backward()\n"
        "before = peak()\n"
        f"ops.local_attention(q, k, v, {kernel_size}).sum().backward()\n"
        f"assert peak() - before < {most}, peak() - before\n"
    )
    assert result.returncode == 0, result.stderr


def test_the_kernels_check_for_themselves() -> None:
    call = torch.ops.karaffe.local_attention
    q, k, v = torch.ones(1, 4, 6, 6), torch.ones(1, 4, 3, 3), torch.ones(1, 2, 3, 3)
    bad = {
        "dtype": lambda: call(q, k, v.double(), None, [3, 3]),
        "float64, float32": lambda: call(q.int(), k.int(), v.int(), None, [3, 3]),
        "heads": lambda: call(q, k, v, None, [3, 3], 4),
        "batch": lambda: call(q, k.expand(2, -1, -1, -1), v, None, [3, 3]),
        "channels": lambda: call(q, k[:, :2], v, None, [3, 3]),
        "spatial size": lambda: call(q, k, v[..., :2], None, [3, 3]),
        "kernel_size": lambda: call(q, k, v, None, [3]),
        "dilation": lambda: call(q, k, v, None, [3, 3], 1, 1.0, None, [2]),
        "taps": lambda: call(q, k, v, None, [3, 3], 1, 1.0, [9]),
        "padding_mode": lambda: call(q, k, v, None, [3, 3], 1, 1.0, None, [], "mirror"),
        "shift": lambda: call(q, k, v, None, [5, 5], 1, 1.0, None, [], "shift"),
        "alignment": lambda: call(q, k, v, None, [3, 3], 1, 1.0, None, [], "mask", "middle"),
        "bias": lambda: call(q, k, v, torch.ones(1, 8), [3, 3]),
        "grad": lambda: torch.ops.karaffe.local_attention_backward(q, q, k, v, None, q[:, :1], [3, 3]),
    }
    with torch.no_grad():
        for word, wrong in bad.items():
            with pytest.raises(RuntimeError, match=word):
                wrong()
