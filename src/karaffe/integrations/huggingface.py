"""Super-resolution networks that save to and load from a folder, or a hub repository, as huggingface_hub's do."""

from __future__ import annotations

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from karaffe.models import create_model


class HubModel(nn.Module, PyTorchModelHubMixin, library_name="karaffe", tags=["super-resolution"]):  # type: ignore[misc,call-arg]
    """A network of :mod:`karaffe.models` with ``save_pretrained`` and ``from_pretrained``.

        HubModel("sharp", 4).save_pretrained("my-sharp")
        model = HubModel.from_pretrained("my-sharp")

    Args:
        name, scale: as for :func:`karaffe.models.create_model`; they are what the folder's ``config.json`` holds.
        pretrained: begin with the weights that ship with karaffe.

    Attributes:
        network: the :class:`karaffe.models.SuperResolver`.

    Raises:
        UnknownNameError: no network of that name.
        ArgumentError: the network does not have that scale.
    """

    def __init__(self, name: str, scale: int, pretrained: bool = False) -> None:
        super().__init__()
        self.network = create_model(name, scale, pretrained=pretrained)

    @property
    def scale(self) -> int:
        return self.network.scale

    @property
    def halo(self) -> int:
        return self.network.halo

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge ``x`` (N, C, H, W); see :meth:`karaffe.models.SuperResolver.forward`."""
        enlarged: Tensor = self.network(x)
        return enlarged
