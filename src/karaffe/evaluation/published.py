"""Published figures of bicubic interpolation, to check a protocol and a copy of the data against.

Means over the set of PSNR (dB) and SSIM on the papers' protocol, LR by MATLAB's ``imresize``; as tabulated by
J. Kim et al., "Accurate image super-resolution using very deep convolutional networks", CVPR 2016 (VDSR).
"""

from __future__ import annotations

from karaffe.evaluation.protocol import Scores

BICUBIC: dict[tuple[str, int], Scores] = {
    ("Set5", 2): Scores(33.66, 0.9299),
    ("Set5", 3): Scores(30.39, 0.8682),
    ("Set5", 4): Scores(28.42, 0.8104),
    ("Set14", 2): Scores(30.24, 0.8688),
    ("Set14", 3): Scores(27.55, 0.7742),
    ("Set14", 4): Scores(26.00, 0.7027),
    ("BSD100", 4): Scores(25.96, 0.6675),
}
