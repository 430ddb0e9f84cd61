"""What an operator must take without a limit: kernels, sizes, threads, and the same bits every time."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from karaffe import ops
from oracle import Case, assert_close, check

OPERATORS = {name: getattr(torch.ops.karaffe, name).default for name in ("reassemble", "correlate", "scatter")}


@pytest.mark.parametrize("k", range(1, 16))
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_kernel_size_to_fifteen(operator: str, k: int) -> None:
    """Odd and even, larger than the map too, square and not, at a whole factor and at none."""
    cases = [
        Case((4, 19), (8, 38), (k, k), batch=1, channels=5),
        Case((6, 5), (7, 9), (k, 16 - k), batch=1, channels=4, groups=2, padding_mode="reflect"),
    ]
    check(operator, OPERATORS[operator], cases, torch.float32)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "case",
    [
        Case((37,), (111,), (9,), channels=6, groups=3, padding_mode="replicate"),
        Case((23,), (30,), (4,), channels=5, dilation=(3,), alignment="align_corners"),
        Case((3, 5, 9), (6, 10, 18), (3, 3, 3), channels=4, groups=2),
        Case((4, 3, 5), (3, 7, 5), (2, 5, 4), channels=3, alignment="center"),
        Case((5, 6), (10, 18), (3, 5), channels=8),
        Case((5, 6), (15, 6), (5, 5), channels=8, groups=4),
    ],
    ids=str,
)
def test_axes_and_unequal_factors(operator: str, case: Case) -> None:
    check(operator, OPERATORS[operator], [case], torch.float32)


def test_no_limit_on_groups_times_taps() -> None:
    case = Case((3, 4), (6, 8), (15, 15), batch=1, channels=64, groups=64)
    for operator, op in OPERATORS.items():
        check(operator, op, [case], torch.float32, tolerance=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_same_bits_at_every_run_and_thread_count(operator: str, layout: torch.memory_format) -> None:
    case = Case((33, 40), (66, 80), (5, 5), channels=32)
    tensors = {k: t.contiguous(memory_format=layout) for k, t in case.tensors(torch.float32).items()}
    arguments = case.arguments(operator, tensors)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            results.append(OPERATORS[operator](*arguments))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(r, results[0]) for r in results[1:])


def test_fused_operators_give_the_same_bits_at_every_run() -> None:
    x, logits = torch.randn(2, 16, 20, 24), torch.randn(2, 100, 20, 24)
    query = torch.randn(2, 16, 40, 48)
    for call in (
        lambda: ops.reassemble_logits(x, logits, 5),
        lambda: ops.local_attention(query, x, x, 5, heads=2),
    ):
        assert torch.equal(call(), call())


@pytest.mark.parametrize("operator", [*OPERATORS, "reassemble_logits", "local_attention"])
def test_several_python_threads_at_once(operator: str) -> None:
    case = Case((12, 17), (24, 34), (5, 5), channels=16)

    def call(seed: int) -> list[Tensor]:
        tensors = case.tensors(torch.float32, seed)
        V, A, Q = (tensors[k].requires_grad_() for k in "VAQ")
        if operator == "reassemble_logits":
            used = (V, torch.nn.functional.pixel_unshuffle(A.detach(), 2).requires_grad_())
            out = ops.reassemble_logits(*used, 5)
        elif operator == "local_attention":
            used, out = (Q, V), ops.local_attention(Q, V, V, 5)
        else:
            x, y, *rest = case.arguments(operator, tensors)
            used, out = (x, y), OPERATORS[operator](x, y, *rest)
        return [out.detach(), *torch.autograd.grad(out.pow(2).sum(), used)]

    wanted = {seed: call(seed) for seed in range(4)}
    wrong: list[int] = []

    def work(seed: int) -> None:
        for _ in range(10):
            if not all(torch.equal(a, b) for a, b in zip(call(seed), wanted[seed], strict=True)):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in wanted]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("shape", [(0, 4, 3, 5), (2, 4, 1, 1)])
def test_empty_batches_and_single_pixels(shape: tuple) -> None:
    x = torch.randn(shape, requires_grad=True)
    logits = torch.randn(shape[0], 36, *shape[2:], requires_grad=True)
    out = ops.reassemble_logits(x, logits, 3)
    assert out.shape == (*shape[:2], 2 * shape[2], 2 * shape[3])
    out.sum().backward()
    assert x.grad.shape == x.shape
    assert logits.grad.shape == logits.shape


def far_away(height: int = 32, width: int = 128) -> tuple[Tensor, Tensor, torch.Generator]:
    """A source of zeros, more than 2^31 values at twice the size, but for its last channels; these; the generator."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(0)
    seed = torch.randn(1, 64, height, width, generator=generator).bfloat16()
    x = torch.zeros(1, 2**17 + 3, height, width, dtype=torch.bfloat16)
    x[:, -64:] = seed
    return x, seed, generator


@pytest.mark.slow
def test_more_than_two_to_the_31_elements() -> None:
    """Offsets beyond 32 bits: the last channels of a large tensor give and take what they do in a small call."""
    x, seed, generator = far_away()
    kernels = torch.randn(1, 9, 64, 256, generator=generator).softmax(1).bfloat16()
    out = ops.reassemble(x, kernels, 3)
    assert out.numel() > 2**31
    last = out[:, -64:].contiguous()
    assert torch.equal(last, ops.reassemble(seed, kernels, 3))
    assert not out[:, :64].any()
    assert_close(ops.correlate(x, out, 3), ops.correlate(seed, last, 3), "correlate")
    del x
    back = ops.scatter(kernels, out, 3, (32, 128))
    assert_close(back[:, -64:], ops.scatter(kernels, last, 3, (32, 128)), "scatter")


@pytest.mark.slow
def test_more_than_two_to_the_31_elements_fused() -> None:
    x, seed, generator = far_away()
    logits = torch.randn(1, 36, 32, 128, generator=generator).bfloat16()
    out = ops.reassemble_logits(x, logits, 3)
    assert out.numel() > 2**31
    last = out[:, -64:].contiguous()
    assert torch.equal(last, ops.reassemble_logits(seed, logits, 3))
    backward = torch.ops.karaffe.reassemble_logits_backward
    by_input, by_logits = backward(out, x, logits, [3, 3], [2, 2])
    wanted_by_input, wanted_by_logits = backward(last, seed, logits, [3, 3], [2, 2])
    assert_close(by_input[:, -64:], wanted_by_input, "gradient by input")
    assert_close(by_logits, wanted_by_logits, "gradient by logits")
