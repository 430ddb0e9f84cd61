"""The native kernels: every instruction set against the reference, the same bits at every thread count, layouts kept.

An instruction set is chosen when the library is loaded, so each one is tested in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from karaffe import ops
from karaffe.ops.backends import cpu, reference_logits
from karaffe.ops.backends.contractions import FORMULAS
from karaffe.ops.layout import result_format
from karaffe.ops.normalize import NORMALIZERS
from oracle import Case

pytestmark = pytest.mark.skipif(cpu.why_not() is not None, reason=f"native kernels: {cpu.why_not()}")

OPERATORS = ("reassemble", "correlate", "scatter")
INSTRUCTION_SETS = ("avx512", "avx2", "neon", "portable")
ROOT = Path(__file__).parents[2]


def native(operator: str):
    return getattr(torch.ops.karaffe, operator)


@st.composite
def specialised_cases(draw: st.DrawFn) -> Case:
    """What the specialised kernels serve: square odd kernels, whole factors; sizes around a vector's and a block's."""
    sizes = draw(st.tuples(st.integers(1, 6), st.sampled_from((1, 2, 3, 5, 8, 15, 16, 17, 33))))
    factor, groups = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    return Case(
        sizes=sizes,
        targets=tuple(s * factor for s in sizes),
        kernel_size=(draw(st.sampled_from((3, 5, 7))),) * 2,
        batch=draw(st.integers(0, 2)),
        channels=groups * draw(st.sampled_from((1, 3, 4, 5, 16, 21, 64, 70))),
        groups=groups,
        padding_mode=draw(st.sampled_from(("zeros", "replicate", "reflect"))),
        alignment=draw(st.sampled_from(("corner", "center"))),
    )


def agrees(operator: str, case: Case, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Value and strides of one call against the float64 formula."""
    tensors = {k: t.contiguous(memory_format=memory_format) for k, t in case.tensors(dtype).items()}
    exact = {k: t.double() for k, t in tensors.items()}
    wanted = oracle.FORMULAS[operator](*case.arguments(operator, exact))
    got = native(operator)(*case.arguments(operator, tensors))
    assert got.dtype == dtype
    like = tensors["Q" if operator == "scatter" else "V"]
    kept = torch.contiguous_format if like.is_contiguous() else memory_format
    assert got.is_contiguous(memory_format=kept), f"{operator} {case}: {got.stride()}"
    oracle.assert_close(got, wanted, f"{operator} {case} {dtype} {memory_format}")


FORMATS = st.sampled_from((torch.contiguous_format, torch.channels_last))
DTYPES = st.sampled_from((torch.float32, torch.float64, torch.bfloat16, torch.float16))
FUSED_DTYPES = st.sampled_from((torch.float32, torch.bfloat16, torch.float16))


def with_threads(call: Callable[[], tuple[torch.Tensor, ...]]) -> None:
    """The results of ``call`` are the same to the bit at every thread count."""
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(call())
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@pytest.mark.parametrize("operator", OPERATORS)
@given(case=specialised_cases(), dtype=DTYPES, memory_format=FORMATS)
@settings(max_examples=60, deadline=None)
def test_specialised_kernels(operator, case, dtype, memory_format):
    agrees(operator, case, dtype, memory_format)


def logits_and_options(case: Case, normalizer: str) -> tuple[torch.Tensor, tuple]:
    """float64 logits for a case, positive where they are divided by their sum, and the operator's options."""
    factor, kernel = case.targets[0] // case.sizes[0], list(case.kernel_size)
    channels = case.groups * kernel[0] ** 2 * factor**2
    generator = torch.Generator().manual_seed(2)
    logits = 3 * torch.rand(case.batch, channels, *case.sizes, generator=generator, dtype=torch.float64) - 1
    options = (kernel, [factor, factor], case.groups, [1, 1], case.padding_mode, normalizer)
    return logits + 2 if normalizer == "sum" else logits, options


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@given(case=specialised_cases(), dtype=FUSED_DTYPES, memory_format=FORMATS)
@settings(max_examples=25, deadline=None)
def test_fused_logits(normalizer, case, dtype, memory_format):
    logits, options = logits_and_options(case, normalizer)
    logits = logits.to(dtype).contiguous(memory_format=memory_format)
    source = case.tensors(dtype)["V"].contiguous(memory_format=memory_format)
    wanted = reference_logits.reassemble_logits(FORMULAS, source.double(), logits.double(), *options)
    got = torch.ops.karaffe.fused_logits(source, logits, *options[:3], *options[4:])
    assert got.dtype == dtype
    kept = torch.contiguous_format if source.is_contiguous() else memory_format
    assert got.is_contiguous(memory_format=kept)
    oracle.assert_close(got, wanted, f"{case} {dtype} {memory_format}")


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@given(case=specialised_cases(), dtype=FUSED_DTYPES, formats=st.tuples(FORMATS, FORMATS, FORMATS))
@settings(max_examples=25, deadline=None)
def test_fused_logits_backward(normalizer, case, dtype, formats):
    """Both gradients against the float64 formula; each tensor in a layout of its own, each gradient in its tensor's."""
    logits, options = logits_and_options(case, normalizer)
    tensors = case.tensors(dtype)
    given_tensors = (tensors["Q"], tensors["V"], logits.to(dtype))
    grad, source, logits = (t.contiguous(memory_format=f) for t, f in zip(given_tensors, formats, strict=True))
    exact = (t.double() for t in (grad, source, logits))
    wanted = reference_logits.reassemble_logits_backward(FORMULAS, *exact, *options)
    got = torch.ops.karaffe.fused_logits_backward(grad, source, logits, *options[:3], *options[4:])
    for name, ours, exactly, of in zip(("input", "logits"), got, wanted, (source, logits), strict=True):
        assert ours.dtype == dtype
        assert ours.is_contiguous(memory_format=result_format(of)), name
        oracle.assert_close(ours, exactly, f"gradient by {name}, {case} {dtype} {formats}")


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_bits_of_the_fused_kernels_do_not_depend_on_threads(memory_format):
    case = Case((17, 23), (34, 46), (5, 5), channels=37, padding_mode="replicate")
    logits, options = logits_and_options(case, "softmax")
    tensors = (case.tensors()["Q"], case.tensors()["V"], logits)
    grad, source, logits = (t.float().contiguous(memory_format=memory_format) for t in tensors)
    options = (*options[:3], *options[4:])
    operators = torch.ops.karaffe
    with_threads(
        lambda: (
            operators.fused_logits(source, logits, *options),
            *operators.fused_logits_backward(grad, source, logits, *options),
        )
    )


@pytest.mark.parametrize("operator", OPERATORS)
@given(case=oracle.cases(), dtype=DTYPES)
@settings(max_examples=60, deadline=None)
def test_general_kernels(operator, case, dtype):
    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(len(case.sizes))
    for memory_format in (torch.contiguous_format, *([last] if last else [])):
        agrees(operator, case, dtype, memory_format)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_halves_over_several_runs_of_rows(operator, padding_mode, memory_format):
    """Large enough that bfloat16 and float16 are widened some rows at a time, with an image in several parts."""
    geometry = {"kernel_size": (7, 7), "channels": 4, "groups": 2, "batch": 1, "padding_mode": padding_mode}
    case = Case((23, 40), (92, 160), **geometry)
    for dtype in (torch.bfloat16, torch.float16):
        agrees(operator, case, dtype, memory_format)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_converted_as_torch_converts_them(dtype):
    """Every value there is, kept by a kernel of one, and rounded from its product with a number."""
    values = torch.arange(1 << 16).to(torch.int32).to(torch.int16).view(dtype).reshape(1, -1, 1, 1)
    for factor in (1.0, 0.3337, 3.1e-3):
        kernels = torch.zeros(1, 9, 1, 1, dtype=dtype)
        kernels[:, 4] = factor
        wanted = (values.float() * kernels[:, 4:5].float()).to(dtype)
        got = native("reassemble")(values, kernels, [3, 3])
        torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients(operator, memory_format):
    flat = [case for case in oracle.FIXED if len(case.sizes) == 2]
    oracle.check(operator, native(operator), flat, memory_format=memory_format)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("targets", [(34, 46), (29, 31)], ids=["specialised", "general"])
def test_bits_do_not_depend_on_threads(operator, memory_format, targets):
    case = Case((17, 23), targets, (5, 5), channels=37, padding_mode="replicate")
    tensors = case.tensors(torch.float32)
    arguments = case.arguments(operator, {k: t.contiguous(memory_format=memory_format) for k, t in tensors.items()})
    with_threads(lambda: (native(operator)(*arguments),))


@pytest.mark.parametrize("operator", OPERATORS)
def test_strided_and_mixed_layouts(operator):
    case = Case((6, 9), (12, 18), (5, 5), channels=12)
    tensors = case.tensors(torch.float32)
    wanted = native(operator)(*case.arguments(operator, tensors))
    wide = {k: t.repeat_interleave(2, -1)[..., ::2] for k, t in tensors.items()}
    assert not any(t.is_contiguous() for t in wide.values())
    assert torch.equal(native(operator)(*case.arguments(operator, wide)), wanted)
    mixed = tensors | {"A": tensors["A"].contiguous(memory_format=torch.channels_last)}
    torch.testing.assert_close(native(operator)(*case.arguments(operator, mixed)), wanted)


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="the system has no large pages to give"
)
def test_large_results_are_asked_for_in_large_pages():
    for side, asked in ((64, False), (600, True)):  # results of 0.5 and 46 MB
        result = ops.reassemble(torch.ones(1, 8, side, side), torch.ones(1, 9, 2 * side, 2 * side), 3)
        assert ("hg" in flags_of_memory(result.data_ptr() + result.nbytes // 2)) == asked
        assert result[0, 0, side, side] == 9


def flags_of_memory(address: int) -> list[str]:
    """What the system says of the mapping that an address lies in."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if (bounds := re.fullmatch(r"([0-9a-f]+)-([0-9a-f]+)", first)) is not None:
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif first == "VmFlags:" and inside:
            return rest
    return []


def test_the_kernels_check_for_themselves():
    x, a = torch.ones(1, 2, 3, 3), torch.ones(1, 25, 6, 6)
    bad = {
        "dtype": lambda: native("reassemble")(x, a.double(), [5, 5]),
        "float64, float32": lambda: native("reassemble")(x.int(), a.int(), [5, 5]),
        "channels": lambda: native("reassemble")(x, a, [3, 3]),
        "groups": lambda: native("reassemble")(x, a, [5, 5], 3),
        "batch": lambda: native("reassemble")(x, a.expand(2, -1, -1, -1), [5, 5]),
        "kernel_size": lambda: native("reassemble")(x, a, [5]),
        "padding_mode": lambda: native("reassemble")(x, a, [5, 5], 1, [], "mirror"),
        "alignment": lambda: native("reassemble")(x, a, [5, 5], 1, [], "zeros", "middle"),
    }
    with torch.no_grad():
        for word, call in bad.items():
            with pytest.raises(RuntimeError, match=word):
                call()


def in_a_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_every_instruction_set(instruction_set):
    result = in_a_process(
        "import sys, torch\n"
        "try:\n"
        "    import karaffe.ops\n"
        "except RuntimeError as error:\n"
        "    assert 'is not to be had here' in str(error)\n"
        "    sys.exit(77)\n"
        "from karaffe.ops.backends import cpu\n"
        f"assert cpu.simd() == {instruction_set!r}, cpu.simd()\n"
        "sys.path[:0] = ['tests', 'tests/ops']\n"
        "import test_native as t\n"
        "for normalizer in t.NORMALIZERS:\n"
        "    t.test_fused_logits(normalizer)\n"
        "    t.test_fused_logits_backward(normalizer)\n"
        "t.test_halves_are_converted_as_torch_converts_them(torch.bfloat16)\n"
        "t.test_halves_are_converted_as_torch_converts_them(torch.float16)\n"
        "for operator in t.OPERATORS:\n"
        "    t.test_specialised_kernels(operator)\n"
        "    t.test_general_kernels(operator)\n"
        "    for layout in (torch.contiguous_format, torch.channels_last):\n"
        "        t.test_gradients(operator, layout)\n",
        KARAFFE_SIMD=instruction_set,
    )
    if result.returncode == 77:
        pytest.skip(f"this processor has no {instruction_set}")
    assert result.returncode == 0, result.stderr


def test_an_unknown_instruction_set_is_an_error():
    result = in_a_process("import karaffe.ops", KARAFFE_SIMD="mmx")
    assert result.returncode != 0
    assert "BackendError" in result.stderr
    assert "KARAFFE_SIMD='mmx'" in result.stderr


def test_without_the_library_the_formula_serves_with_one_warning(tmp_path):
    result = in_a_process(
        "import pathlib, sys, warnings, torch\n"
        "is_file = pathlib.Path.is_file\n"
        "pathlib.Path.is_file = lambda p: 'karaffe_cpu' not in p.name and is_file(p)\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    import karaffe.ops\n"
        "    karaffe.ops.reassemble(torch.ones(1, 1, 2, 2), torch.ones(1, 9, 4, 4), 3)\n"
        "ours = [w for w in seen if w.category is RuntimeWarning and 'karaffe' in str(w.message)]\n"
        "assert len(ours) == 1, seen\n"
        "(native,) = [b for b in karaffe.ops.backends() if b.name == 'cpu']\n"
        "assert 'not built' in native.reason, native\n"
    )
    assert result.returncode == 0, result.stderr
