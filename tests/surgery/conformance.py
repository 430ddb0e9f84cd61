"""What a replaced network must still do, measured on networks that nobody here wrote, and the table of it.

``python tests/surgery/conformance.py --write docs/surgery-conformance.md``, with ``src`` on the path, checks every
network, each library in a process, and writes the table; names on the command line restrict it. Needs the
environment of ``make conformance-env``.
"""

from __future__ import annotations

import argparse
import copy
import gc
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from thirdparty import LIBRARY, NETWORKS, Case, define_torchvision_operators
from torch import Tensor, nn

from karaffe.errors import KaraffeError
from karaffe.surgery import (
    Inputs,
    Report,
    find_upsamplers,
    load_original_state_dict,
    replace_upsamplers,
    restore_upsamplers,
)
from karaffe.surgery.plan import GROUPS
from karaffe.surgery.probe import tensors_in
from karaffe.surgery.verify import output_change

TOLERANCE = 2e-3
COLUMNS = ("sites", "replaced", "output kept", "state_dict kept", "copies", "trains", "compiles", "exports", "ONNX")


def available(name: str) -> bool:
    library = LIBRARY[name]
    needed = {"hand-written": [], "timm": ["timm", "torchvision"]}.get(library, [library])
    return all(importlib.util.find_spec(one) for one in needed)


def prepare() -> None:
    """Once a process: what the third parties need before they are imported."""
    if importlib.util.find_spec("torchvision"):
        define_torchvision_operators()


def build(name: str) -> Case:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = NETWORKS[name]()
    case.model.eval()
    return case


def outputs(case: Case, model: nn.Module | None = None, other: bool = False) -> Any:
    """The output for the first or the other input, with one random state (some decoders draw noise)."""
    args, kwargs = (case.other_args, case.other_kwargs) if other else (case.args, case.kwargs)
    torch.manual_seed(0)
    with torch.no_grad():
        return (case.model if model is None else model)(*args, **kwargs)


class Checks:
    """One network before and after surgery; each check raises or returns what the table says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.case = build(name)
        self.model = self.case.model
        self.example = Inputs(*self.case.args, **self.case.kwargs)
        self.before = [outputs(self.case), outputs(self.case, other=True)]
        self.state = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.types = [type(m) for m in self.model.modules()]
        self.original = build(name)
        outputs(self.original)
        sites = find_upsamplers(self.model, self.example)
        self.where = "features" if any(s.role == "feature" for s in sites) else "all"
        self.sites = [s for s in sites if s.role in GROUPS[self.where]]
        self.report: Report | None = None

    def replace(self, **options: Any) -> str:
        self.report = replace_upsamplers(self.model, "carafe", self.example, where=self.where, **options)
        return f"{len(self.report.replaced)}"

    def output_kept(self) -> str:
        changes = [output_change(outputs(self.case, other=other), self.before[other]) for other in (False, True)]
        if max(changes) > TOLERANCE:
            raise AssertionError(f"changes by {max(changes):.1e}")
        return f"{max(changes):.0e}"

    def state_kept(self) -> str:
        now = {k: v for k, v in self.model.state_dict().items() if "karaffe" not in k.split(".")}
        if list(now) != list(self.state) or not all(torch.equal(now[k], self.state[k]) for k in now):
            raise AssertionError("keys or values moved")
        load_original_state_dict(self.model, self.state)
        return "✓"

    def copies(self) -> str:
        twin = copy.deepcopy(self.model)
        if output_change(outputs(self.case, twin), outputs(self.case)) > 1e-6:
            raise AssertionError("the copy gives another output")
        if {id(p) for p in twin.parameters()} & {id(p) for p in self.model.parameters()}:
            raise AssertionError("the copy shares parameters")
        expected = outputs(self.case)
        for parameter in twin.parameters():
            nn.init.zeros_(parameter)
        if output_change(outputs(self.case), expected) > 1e-6:
            raise AssertionError("changing the copy changes the network")
        return "✓"

    def trains(self, model: nn.Module | None = None) -> str:
        model = self.model if model is None else model
        loss = sum(
            t.float().square().mean()
            for t in tensors_in(model(*self.case.args, **self.case.kwargs))
            if t.is_floating_point() and t.requires_grad
        )
        if not isinstance(loss, Tensor):
            raise AssertionError("no output depends on the parameters")
        loss.backward()
        new = [p for name, p in model.named_parameters() if "karaffe" in name.split(".")]
        reached = sum(p.grad is not None and bool(p.grad.isfinite().all()) for p in new)
        model.zero_grad(set_to_none=True)
        return "✓" if reached == len(new) else f"{reached} of {len(new)}"

    def compiles(self, model: nn.Module | None = None) -> str:
        model = self.model if model is None else model
        torch._dynamo.reset()
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        if output_change(outputs(self.case, compiled), outputs(self.case, model)) > 1e-4:
            raise AssertionError("the compiled network gives another output")
        return "✓"

    def exported(self, model: nn.Module) -> torch.export.ExportedProgram:
        with torch.no_grad():
            return torch.export.export(model, self.case.args, self.case.kwargs, strict=False)

    def exports(self, model: nn.Module | None = None) -> str:
        model = self.model if model is None else model
        program = self.exported(model)
        if output_change(outputs(self.case, program.module()), outputs(self.case, model)) > 1e-4:
            raise AssertionError("the exported network gives another output")
        return "✓"

    def onnx(self, model: nn.Module | None = None) -> str:
        import onnxruntime

        model = self.model if model is None else model
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "network.onnx")
            program = torch.onnx.export(self.exported(model), dynamo=True, verbose=False)
            program.save(path)  # type: ignore[union-attr]
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            given = tensors_in((self.case.args, self.case.kwargs))
            feed = {i.name: t.numpy() for i, t in zip(session.get_inputs(), given, strict=False)}
            results = [torch.from_numpy(r) for r in session.run(None, feed)]
        wanted = tensors_in(outputs(self.case, model))
        if output_change(results, wanted) > 1e-3:
            raise AssertionError("onnxruntime gives another output")
        return "✓"

    def restored(self) -> None:
        restore_upsamplers(self.model)
        if list(self.model.state_dict()) != list(self.state) or [type(m) for m in self.model.modules()] != self.types:
            raise AssertionError("restore left something behind")
        if output_change(outputs(self.case), self.before[0]) > 1e-6:
            raise AssertionError("the restored network gives another output")

    def attempt(self, check: Callable[..., str], original_too: bool = False) -> str:
        """What the table says: the check's word, or why not, and whether the untouched network fails as well."""
        try:
            return check()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        if original_too:
            gc.collect()
            try:
                check(self.original.model)
            except Exception:
                return "– as the original"
        return f"✗ {reason}"


def core_row(name: str, checks: Checks) -> dict[str, str]:
    """What surgery itself promises."""
    cells = {"sites": str(len(checks.sites))}
    if not checks.sites:
        return cells
    cells["replaced"] = checks.attempt(checks.replace)
    if checks.report is None:
        return cells
    if checks.report.left:
        cells["left"] = "; ".join(f"{entry.site.name}: {entry.reason}" for entry in checks.report.left)
    cells["output kept"] = checks.attempt(checks.output_kept)
    cells["state_dict kept"] = checks.attempt(checks.state_kept)
    cells["copies"] = checks.attempt(checks.copies)
    cells["trains"] = checks.attempt(checks.trains, True)
    restored = checks.attempt(lambda: checks.restored() or "✓")
    if restored != "✓":
        cells["left"] = f"restore: {restored}"
    return cells


def deployment_row(name: str, checks: Checks) -> dict[str, str]:
    """What torch makes of the replaced network."""
    if not checks.sites:
        return {}
    checks.replace(verify=False)
    cells = {"compiles": checks.attempt(checks.compiles, True), "exports": checks.attempt(checks.exports, True)}
    cells["ONNX"] = checks.attempt(checks.onnx, True) if cells["exports"] == "✓" else cells["exports"]
    return cells


PARTS = {"core": core_row, "deployment": deployment_row}


def print_rows(part: str, names: list[str]) -> None:
    """One JSON line a network, as each is done."""
    for name in names:
        print(json.dumps({"starts": name}), flush=True)
        try:
            cells = PARTS[part](name, Checks(name))
        except Exception as error:
            cells = {"left": f"{part}: {type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps({"name": name, "cells": cells}), flush=True)
        gc.collect()


def rows_in_a_process(part: str, names: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each network's cells; a process that dies takes only the network it was at with it."""
    pending = list(names)
    while pending:
        command = [sys.executable, __file__, "--part", part, *pending]
        current = pending[0]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if not line.startswith("{"):
                    continue
                said = json.loads(line)
                current = said.get("starts", current)
                if "name" in said:
                    pending.remove(said["name"])
                    yield said["name"], said["cells"]
        if process.returncode and current in pending:
            pending.remove(current)
            yield current, {"left": f"{part}: the process ended with code {process.returncode}"}


def document(rows: dict[str, dict[str, str]], versions: str) -> str:
    """The page that the documentation shows."""
    found = sum(int(r["sites"]) for r in rows.values() if r.get("sites", "").isdigit())
    replaced = sum(int(r["replaced"]) for r in rows.values() if r.get("replaced", "").isdigit())
    out = io.StringIO()
    out.write("# Networks that surgery is tested on\n\n")
    out.write(
        "Written by `tests/surgery/conformance.py`; nothing here is entered by hand. Every network has random "
        'weights; `replace_upsamplers(model, "carafe", example)` replaces the upsampling of its features '
        "(where a network has none of those, of its logits and pooled maps).\n\n"
        f"**{replaced} of {found} sites replaced in {len(rows)} networks.** Output kept: largest relative change on "
        "two input sizes. Compiles: `torch.compile(fullgraph=True)`; exports: `torch.export`; ONNX: run by "
        "onnxruntime and compared. “As the original”: the untouched network cannot do it either. Trains, “m of n”: the "
        "other new parameters belong to a map that is not among the outputs.\n\n"
        f"Versions: {versions}.\n\n"
    )
    out.write("| network | " + " | ".join(COLUMNS) + " |\n" + "| --- " * (len(COLUMNS) + 1) + "|\n")
    for name, cells in rows.items():
        blank = "not measured" if cells.get("sites") != "0" else ""
        shown = [cells.get(column, blank).replace("|", "\\|") for column in COLUMNS]
        out.write(f"| {name} | " + " | ".join(shown) + " |\n")
    notes = [f"- {name}: {cells['left']}" for name, cells in rows.items() if cells.get("left")]
    if notes:
        out.write("\nLeft as they were:\n\n" + "\n".join(notes) + "\n")
    return out.getvalue()


def versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("torch", *sorted({x for x in LIBRARY.values() if x != "hand-written"}), "onnxruntime"):
        try:
            found.append(f"{package} {version(package).split('+')[0]}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--part", choices=PARTS, help="print the cells of this part; what the processes do")
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--cache", type=Path, required=False, help="folder of finished cells, to go on with later")
    parser.add_argument("--finished", action="store_true", help="only what the cache has; measure nothing")
    options = parser.parse_args()
    names = options.names or [n for n in NETWORKS if available(n)]
    if options.part:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        prepare()
        print_rows(options.part, names)
        return
    rows: dict[str, dict[str, str]] = {name: {} for name in names}
    for part in PARTS:
        kept = {name: _cached(options.cache, part, name) for name in names}
        for name, path in kept.items():
            if path and path.exists():
                rows[name] |= json.loads(path.read_text())
        missing = [n for n, path in kept.items() if not (options.finished or (path and path.exists()))]
        for name, cells in rows_in_a_process(part, missing):
            print(part, name, cells, flush=True)
            rows[name] |= cells
            if path := kept[name]:
                path.write_text(json.dumps(cells))
    if options.write:
        temporary = options.write.with_suffix(".tmp")
        temporary.write_text(document(rows, versions()))
        temporary.replace(options.write)


def _cached(folder: Path | None, part: str, name: str) -> Path | None:
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{part}-{name.replace(' ', '-')}.json"


if __name__ == "__main__":
    try:
        main()
    except KaraffeError as error:
        sys.exit(str(error))
