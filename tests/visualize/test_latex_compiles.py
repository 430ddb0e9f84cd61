"""The LaTeX strip in front of LaTeX itself."""

import shutil
import subprocess

import numpy as np
import pytest

from karaffe.visualize import Panel, Scene, latex

DOCUMENT = r"""\documentclass{article}
\usepackage{graphicx}
\begin{document}
\input{%s}
\input{%s}
\end{document}
"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_strips_compile_without_a_warning_of_their_own(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    hostile = r"50%_of #1 & {all} \input{x} ~^$"
    panels = (Panel("bicubic", noise // 2, 30.0, 0.9), Panel(hostile, noise // 3, 31.0, 0.95))
    for stem, reference, count in (("measured-x2", {}, 2), ("alone-x2", {"reference_label": "a_b"}, 1)):
        scene = Scene(hostile, noise, panels if not reference else (Panel("other", noise // 2),), 2, **reference)
        for name, content in latex(scene, stem, crop_size=16, count=count).items():
            (tmp_path / name).write_bytes(content)
    (tmp_path / "paper.tex").write_text(DOCUMENT % ("measured-x2", "alone-x2"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stdout[-2000:]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert r"Overfull \hbox" not in log
    assert "Undefined" not in log
    # Of the measured one two crops, each with three pictures and two maps; three of the one crop of the other.
    assert log.count("<use ") == 2 * (3 + 2) + (2 + 1)
