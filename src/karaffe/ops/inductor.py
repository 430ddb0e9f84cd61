"""torch.compile calls the operators as they are.

Inductor would do so by itself, but it refuses an operator that has a decomposition (ours is for ONNX) where the
variable ``CI`` is set: a check of torch's own development that reaches everybody's.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch._library.utils import get_layout_constraint_tag

from karaffe.ops.on_import import when_imported


def keep_whole(op: Any) -> None:
    """Have inductor call ``op``, with its tensors in the layout that it would choose for any custom operator."""

    def hand_over(lowering: ModuleType) -> None:
        constraint = lowering.tag_to_layout_constraint(get_layout_constraint_tag(op, with_default=True))
        lowering.make_fallback(op, layout_constraint=constraint, warn=False)

    when_imported("torch._inductor.lowering", hand_over)
