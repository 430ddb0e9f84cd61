"""A figure as a PDF of one page, its pixels kept as they are (Pillow's own PDF would compress them with losses)."""

from __future__ import annotations

import zlib

from PIL import Image

from karaffe.errors import ArgumentError


def pdf(figure: Image.Image, *, dpi: float = 300) -> bytes:
    """Return ``figure`` as a PDF page of its size at ``dpi`` dots an inch; nothing in it depends on the clock.

    Raises:
        ArgumentError: ``dpi`` is not positive.
    """
    if not dpi > 0:
        raise ArgumentError(f"pdf: dpi must be positive, got {dpi!r}")
    width, height = figure.size
    wide, tall = (f"{72 * n / dpi:.3f}" for n in figure.size)
    pixels = zlib.compress(figure.convert("RGB").tobytes(), 9)
    drawing = f"{wide} 0 0 {tall} 0 0 cm /I Do".encode()
    image = (
        f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB "
        f"/BitsPerComponent 8 /Interpolate false /Filter /FlateDecode"
    )
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {wide} {tall}] /Contents 4 0 R "
        "/Resources << /XObject << /I 5 0 R >> >> >>".encode(),
        _stream("", drawing),
        _stream(image, pixels),
    ]
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(bodies) + 1, start)
    return bytes(out)


def _stream(entries: str, content: bytes) -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (entries.encode(), len(content), content)
