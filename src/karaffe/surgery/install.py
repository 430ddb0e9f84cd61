"""Put site modules into a live network and take them out again, leaving everything else as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from karaffe.surgery.modules import SiteModule
from karaffe.surgery.rewrite import Edit
from karaffe.surgery.site import Site
from karaffe.surgery.subclass import CHILD, edits_of, is_replaced, original_class, rewritten_class, swapped_class


@dataclass
class Placement:
    """One site module and how it enters the network.

    Attributes:
        sites: what it replaces.
        module: the new module.
        start: how it begins, in words.
        host: path of the module that holds it.
        key: its name in the host's ``karaffe``; ``""``: the host is itself the upsampling module, and gives way.
        edits: rewritten calls, by path of the module whose ``forward`` they are in.
        guide: the expression that names its guide, or ``""``.
    """

    sites: list[Site]
    module: SiteModule
    start: str
    host: str
    key: str
    edits: dict[str, list[Edit]] = field(default_factory=dict)
    guide: str = ""

    @property
    def path(self) -> str:
        """Where the new module's parameters are."""
        return ".".join(part for part in (self.host, CHILD, self.key) if part)

    def install(self, model: nn.Module) -> None:
        """Enter the network.

        Raises:
            SurgeryError: the code cannot be rewritten; nothing has been changed then.
        """
        changed = [(model.get_submodule(path), more) for path, more in self.edits.items()]
        classes = [rewritten_class(original_class(owner), _union(edits_of(owner), more)) for owner, more in changed]
        host = model.get_submodule(self.host)
        if self.key:
            if CHILD not in host._modules:
                host._modules[CHILD] = nn.ModuleDict()
            host._modules[CHILD].add_module(self.key, self.module)  # type: ignore[union-attr]
        else:
            host.__class__ = swapped_class(original_class(host))
            host._modules[CHILD] = self.module
        for (owner, _), cls in zip(changed, classes, strict=True):
            owner.__class__ = cls
        host._modules[CHILD].train(host.training)  # type: ignore[union-attr]

    def remove(self, model: nn.Module, others: list[Placement]) -> None:
        """Leave the network, if in it; ``others`` stay, with the edits they share with this one."""
        host = model.get_submodule(self.host)
        child = host._modules.get(CHILD)
        if child is self.module:
            restore_module(host)
        elif self.key and child is not None and child._modules.get(self.key) is self.module:
            del child._modules[self.key]
            if not child._modules:
                del host._modules[CHILD]
        kept = {(path, edit) for other in others for path, edits in other.edits.items() for edit in edits}
        for path, edits in self.edits.items():
            owner = model.get_submodule(path)
            left = tuple(e for e in edits_of(owner) if e not in edits or (path, e) in kept)
            owner.__class__ = rewritten_class(original_class(owner), left) if left else original_class(owner)


def _union(before: tuple[Edit, ...], more: list[Edit]) -> tuple[Edit, ...]:
    return tuple(dict.fromkeys((*before, *more)))


def restore_module(module: nn.Module) -> None:
    module.__class__ = original_class(module)
    module._modules.pop(CHILD, None)


def restore_upsamplers(model: nn.Module) -> nn.Module:
    """Undo every replacement in ``model``, in place: classes, names and parameters are again what they were.

    Works on copies and on networks that were saved and loaded; what the new modules learned is lost.

    Returns:
        ``model``.
    """
    for module in list(model.modules()):
        if is_replaced(module):
            restore_module(module)
    return model
