import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from karaffe.errors import ArgumentError
from karaffe.visualize import Box, Panel, Scene, latex, pdf, strip
from karaffe.visualize.colours import absolute_map, error_limit


def test_a_pdf_holds_the_figures_pixels_and_its_table_of_objects_is_right(scene):
    figure = strip(scene)
    data = pdf(figure, dpi=144)
    assert data == pdf(figure, dpi=144)
    width, height = figure.size
    assert f"/MediaBox [0 0 {width / 2:.3f} {height / 2:.3f}]".encode() in data
    (found,) = re.findall(rb"/FlateDecode /Length (\d+) >>\nstream\n", data)
    start = data.index(b"/FlateDecode")
    start = data.index(b"stream\n", start) + len(b"stream\n")
    assert zlib.decompress(data[start : start + int(found)]) == figure.tobytes()
    table = int(re.search(rb"startxref\n(\d+)\n", data)[1])
    assert data[table:].startswith(b"xref\n0 6\n")
    offsets = [int(line[:10]) for line in data[table:].splitlines()[3:8]]
    assert [data[offset : offset + 7] for offset in offsets] == [b"%d 0 obj" % n for n in range(1, 6)]
    with pytest.raises(ArgumentError, match="dpi"):
        pdf(figure, dpi=0)


def test_latex_includes_every_cell_at_whole_zoom(scene):
    box = Box(25, 12, 16, 10)
    files = latex(scene, "fig", crops=[box], zoom=3)
    text = files["fig.tex"].decode()
    included = re.findall(r"\\includegraphics\[width=\\karaffecell\]\{([^}]*)\}", text)
    assert sorted(f"{name}.png" for name in included) == sorted(set(files) - {"fig.tex"})
    assert included == ["fig-crop1-0", "fig-crop1-1", "fig-crop1-2", "fig-error1-1", "fig-error1-2"]
    errors = [box.of(scene.error(panel)) for panel in scene.panels]
    wanted = {
        "fig-crop1-0.png": box.of(scene.reference),
        "fig-crop1-2.png": box.of(scene.panels[1].pixels),
        "fig-error1-1.png": absolute_map(errors[0], error_limit(errors)),
    }
    for name, pixels in wanted.items():
        with Image.open(io.BytesIO(files[name])) as image:
            np.testing.assert_array_equal(np.asarray(image), pixels.repeat(3, 0).repeat(3, 1))
    assert r"21.50 / 0.8100 & \centering\footnotesize \textbf{30.25} / 0.9300" in text


def test_latex_labels_are_text():
    pixels = np.zeros((60, 60), np.uint8)
    files = latex(Scene("a\nb", pixels, (Panel(r"50%_\input{x}&$#~^<", pixels),), 2), "fig")
    text = files["fig.tex"].decode()
    escaped = r"50\%\_\textbackslash{}input\{x\}\&\$\#\textasciitilde{}\textasciicircum{}{<}"
    assert rf"\centering {escaped} \tabularnewline" in text
    assert text.splitlines()[0].startswith(r"% 'a\nb', enlarged")
