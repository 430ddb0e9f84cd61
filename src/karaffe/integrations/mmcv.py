"""Upsamplers in OpenMMLab's registry, under the names and configuration keys that mmcv gives them.

    from karaffe.integrations import mmcv
    mmcv.register()

and then ``upsample_cfg=dict(type="carafe", up_kernel=5, up_group=1, encoder_kernel=3, encoder_dilation=1)`` works as
with mmcv's compiled operators, which need not be installed.
"""

from __future__ import annotations

import importlib
from typing import Any

from karaffe.errors import ArgumentError, BackendError
from karaffe.upsamplers import describe_upsampler

# Names of the registry; `deconv`, `nearest`, `bilinear` and `pixel_shuffle` are mmcv's own.
NAMES = ("carafe", "dysample", "resize-conv")


def register(*, force: bool = False) -> list[str]:
    """Enter the upsamplers in mmengine's root registry ``MODELS``, which mmcv's builders look into.

    Args:
        force: take a name that is in use already, as ``carafe`` is once ``mmcv.ops`` has been imported.

    Returns:
        The names.

    Raises:
        BackendError: mmengine cannot be imported.
        ArgumentError: a name is in use, without ``force``; nothing has been entered then.
    """
    models = _registry()
    classes = {name: describe_upsampler(name).cls for name in NAMES}
    for name, cls in classes.items():
        taken = models.module_dict.get(name)
        if taken not in (None, cls) and not force:
            raise ArgumentError(f"the registry has {name!r} already, {taken!r}; register(force=True) replaces it")
    for name, cls in classes.items():
        models.register_module(name=name, module=cls, force=True)
    return list(classes)


def _registry() -> Any:
    try:
        return importlib.import_module("mmengine.registry").MODELS
    except ImportError as error:
        raise BackendError(f"mmengine cannot be imported: {error}") from error
