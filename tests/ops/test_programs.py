"""Captured programs: torch.export, saved and loaded in a new process, decomposed, compiled ahead of time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from karaffe import ops
from oracle import assert_close

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning:torch.*")


class Network(nn.Module):
    """One call of each operator that a network makes."""

    def __init__(self) -> None:
        super().__init__()
        self.logits, self.query = nn.Conv2d(4, 2 * 9 * 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = ops.reassemble_logits(x, self.logits(x), 3, groups=2)
        y = ops.local_attention(self.query(y), x, x, 3, heads=2)
        kernels = ops.correlate(x, y, 3).softmax(1)
        return ops.reassemble(x, kernels, 3) + y


OPERATORS = ("reassemble_logits", "local_attention", "correlate", "reassemble")
LOADER = """
import sys, torch, karaffe
loaded, tensors = sys.argv[1:]
saved = torch.load(tensors)
if loaded.endswith("package.pt2"):
    program = torch._inductor.aoti_load_package(loaded)
else:
    program = torch.export.load(loaded).module()
for x, wanted in saved:
    error = (program(x) - wanted).abs().max().item()
    assert error < 1e-5, error
"""


def captured(model: nn.Module, strict: bool, dynamic: bool = True) -> torch.export.ExportedProgram:
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free},) if dynamic else None
    return torch.export.export(model, (torch.randn(2, 4, 5, 6),), dynamic_shapes=shapes, strict=strict)


def in_a_new_process(path: Path, model: nn.Module) -> None:
    examples = [torch.randn(shape) for shape in ((2, 4, 5, 6), (3, 4, 7, 4))]
    torch.save([(x, model(x).detach()) for x in examples], path.parent / "examples.pt")
    command = [sys.executable, "-W", "ignore", "-c", LOADER, str(path), str(path.parent / "examples.pt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def names(program: torch.export.ExportedProgram) -> set[str]:
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize("strict", [False, True])
def test_export_keeps_the_operators_and_takes_other_sizes(strict: bool) -> None:
    model = Network().eval()
    program = captured(model, strict)
    decomposed = program.run_decompositions()
    for one in (program, decomposed):
        assert {f"karaffe.{name}.default" for name in OPERATORS} <= names(one)
        for shape in ((2, 4, 5, 6), (3, 4, 8, 3)):
            x = torch.randn(shape)
            assert_close(one.module()(x), model(x), "exported", 1e-5)


def test_asked_for_the_operators_decompose_into_torchs_own() -> None:
    model = Network().eval()
    table = torch.export.default_decompositions()
    for name in OPERATORS:
        op = getattr(torch.ops.karaffe, name).default
        table[op] = torch._decomp.decomposition_table[op]
    plain = captured(model, strict=False).run_decompositions(table)
    assert not any(name.startswith("karaffe") for name in names(plain))
    x = torch.randn(3, 4, 8, 3)
    assert_close(plain.module()(x), model(x), "decomposed", 1e-5)


COMPILED_ON_A_SERVER = """
import torch, karaffe.ops
source, logits = torch.randn(1, 4, 5, 6), torch.randn(1, 36, 5, 6)
call = lambda v, a: karaffe.ops.reassemble_logits(v, a, 3)
torch.testing.assert_close(torch.compile(call, fullgraph=True)(source, logits), call(source, logits))
"""


def test_inductor_takes_the_operators_where_CI_is_set() -> None:  # noqa: N802 (the variable's name)
    """Inductor refuses operators that decompose there, unless they were handed to it."""
    environment = {**os.environ, "CI": "true"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILED_ON_A_SERVER], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


ONE_FINDER = """
import sys, karaffe.ops, torch
from karaffe.ops.on_import import _OnImport
waiting = lambda: [finder.name for finder in sys.meta_path if isinstance(finder, _OnImport)]
assert sorted(waiting()) == ["torch._inductor.lowering", "torch.utils.flop_counter"], waiting()
from torch.utils import flop_counter
assert waiting() == ["torch._inductor.lowering"], waiting()
for name in ("reassemble", "correlate", "scatter", "reassemble_logits", "local_attention"):
    assert getattr(torch.ops.karaffe, name) in flop_counter.flop_registry, name
"""


def test_one_finder_waits_for_each_of_torchs_modules() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", ONE_FINDER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_training_through_an_exported_program() -> None:
    model = Network()
    program = captured(model, strict=False).module()
    x = torch.randn(2, 4, 5, 6)
    program(x).pow(2).sum().backward()
    wanted = torch.autograd.grad(model(x).pow(2).sum(), list(model.parameters()))
    for got, want in zip(program.parameters(), wanted, strict=True):
        assert_close(got.grad, want, "gradient", 1e-4)


def test_saved_and_loaded_in_a_new_process(tmp_path: Path) -> None:
    model = Network().eval()
    torch.export.save(captured(model, strict=False), tmp_path / "program.pt2")
    in_a_new_process(tmp_path / "program.pt2", model)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a C++ compiler")
def test_ahead_of_time_package_in_a_new_process(tmp_path: Path) -> None:
    model = Network().eval()
    package = tmp_path / "package.pt2"
    torch._inductor.aoti_compile_and_package(captured(model, strict=False), package_path=str(package))
    in_a_new_process(package, model)
