"""What is trained, what is kept after the products are multiplied out, and what is exported compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from karaffe.export import export_onnx
from karaffe.models import create_model, load_model, save_weights
from karaffe.training.expansion import collapse, expand

NETWORKS = {
    "sharp": ("sharp", {"channels": 8, "depth": 1}),
    "faithful": ("faithful", {"channels": 8, "depth": 1}),
    "srcnn": ("srcnn", {}),
    "fsrcnn": ("fsrcnn", {"d": 8, "s": 4, "m": 1}),
    "espcn": ("espcn", {}),
    "stack": ("stack", {"channels": 8, "depth": 2}),
    "stack of kernels": ("stack", {"channels": 8, "depth": 1, "head": "kernels", "kernel_size": 3, "residual": True}),
    "stack of filters": ("stack", {"channels": 8, "depth": 1, "head": "filters", "residual": True}),
    "srresnet-small": ("srresnet-small", {"channels": 8, "blocks": 1, "upsampler": "carafe"}),
}

# Exporting takes seconds: the others, which are convolutions alone for the most part, are exported in the slow tests.
EXPORTED = ("sharp", "faithful", "stack of kernels")
EXPORTS = [(label, label in EXPORTED) for label in NETWORKS]
EXPORTS += [pytest.param(label, True, marks=pytest.mark.slow) for label in NETWORKS if label not in EXPORTED]


@pytest.mark.parametrize(("label", "exported"), EXPORTS)
def test_trained_collapsed_stored_and_exported_are_one(label: str, exported: bool, tmp_path: Path) -> None:
    (name, options), scale = NETWORKS[label], 2
    torch.manual_seed(0)
    model = create_model(name, scale, pretrained=False, **options)
    expand(model, 72)
    optimizer, x = torch.optim.Adam(model.parameters(), 3e-3), torch.rand(2, 1, 9, 10)
    for _ in range(4):
        optimizer.zero_grad()
        (model(x) - torch.rand(2, 1, 9 * scale, 10 * scale)).square().mean().backward()
        optimizer.step()
    model.eval().requires_grad_(False)
    trained = model(x)
    collapse(model)
    torch.testing.assert_close(model(x), trained, atol=1e-5, rtol=0)

    path = tmp_path / "weights.safetensors"
    save_weights(model, path, name=name, scale=scale, options=options)
    torch.testing.assert_close(load_model(path)(x), trained, atol=1e-5, rtol=0)

    if not exported:
        return
    export_onnx(model, x, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (made,) = session.run(None, {given.name: x.numpy()})
    np.testing.assert_allclose(made, trained.numpy(), atol=1e-5, rtol=0)
