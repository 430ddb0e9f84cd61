"""Networks that nobody here wrote: each cell of the conformance table, as a test.

Needs the environment of ``make conformance-env``; a library that is absent skips its networks.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from thirdparty import NETWORKS

import conformance
from karaffe.surgery import replace_upsamplers

# One of each library, and each trap that only they have; the whole table is for `make test-all`.
HANDFUL = (
    "smp.Unet",
    "torchvision.resnet18_fpn",
    "timm.features + FPN",
    "transformers.SegFormer",
    "transformers.UperNet",
    "transformers.DPT depth",
    "monai.DynUNet",
    "monai.SegResNet 3-D",
    "diffusers.UNet2DConditionModel",
    "yolov8n",
    "DCGAN-like",
)
# The auxiliary head's map is no output of the network, before as after.
PARTLY_TRAINED = {"transformers.UperNet": "24 of 28"}
# Sub-pixels by reshape and permute: no operation of torch enlarges there.
UNSEEN = {"monai.BasicUNet pixelshuffle"}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=[pytest.param(n, marks=() if n in HANDFUL else pytest.mark.slow) for n in NETWORKS])
def checks(request: pytest.FixtureRequest) -> Iterator[conformance.Checks]:
    if not conformance.available(request.param):
        pytest.skip(f"{conformance.LIBRARY[request.param]} is in the environment of `make conformance-env`")
    conformance.prepare()
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield conformance.Checks(request.param)


def test_what_surgery_promises(checks: conformance.Checks) -> None:
    if checks.name in UNSEEN:
        assert not checks.sites
        return
    assert int(checks.replace()) == len(checks.sites) > 0
    assert not checks.report.left
    checks.output_kept()
    checks.state_kept()
    checks.copies()
    assert checks.trains() == PARTLY_TRAINED.get(checks.name, "✓")
    checks.restored()


@pytest.mark.slow
def test_what_torch_makes_of_it(checks: conformance.Checks) -> None:
    if not checks.sites:
        return
    checks.replace(verify=False)
    for check in (checks.compiles, checks.exports, checks.onnx):
        assert checks.attempt(check, True) in ("✓", "– as the original")


@pytest.mark.parametrize(
    ("name", "guided", "left"),
    [
        ("smp.Unet", 4, 1),
        ("torchvision.resnet18_fpn", 3, 0),
        pytest.param("smp.UnetPlusPlus", 10, 1, marks=pytest.mark.slow),
        pytest.param("transformers.MaskFormer", 3, 0, marks=pytest.mark.slow),
        pytest.param("transformers.Mask2Former", 1, 0, marks=pytest.mark.slow),
    ],
)
def test_guided_methods_find_the_skip_in_code_nobody_here_wrote(name: str, guided: int, left: int) -> None:
    if not conformance.available(name):
        pytest.skip(f"{conformance.LIBRARY[name]} is in the environment of `make conformance-env`")
    conformance.prepare()
    checks = conformance.Checks(name)
    report = replace_upsamplers(checks.model, "fade", checks.example)
    checks.report = report
    assert len([entry for entry in report.replaced if entry.guide]) == guided
    assert ["needs a guide" in entry.reason for entry in report.left] == [True] * left
    checks.output_kept()
    checks.state_kept()
    assert checks.trains() == "✓"
    checks.restored()
