"""The operators: three partial contractions of one trilinear form, and what is built of them.

``T(A, Q, V) = sum over p, t, c of A[t, p] · Q[c, p] · V[c, src(p) + t]``: :func:`reassemble` gives Q from V and A,
:func:`correlate` A from V and Q, :func:`scatter` V from A and Q. Each one's derivatives are the other two.
"""

from karaffe.ops.backends import Backend, backends, cpu, use_backend
from karaffe.ops.carafe import carafe
from karaffe.ops.correlate import correlate
from karaffe.ops.local_attention import local_attention
from karaffe.ops.reassemble import reassemble
from karaffe.ops.reassemble_logits import reassemble_logits
from karaffe.ops.scatter import scatter

__all__ = [
    "Backend",
    "backends",
    "carafe",
    "correlate",
    "local_attention",
    "reassemble",
    "reassemble_logits",
    "scatter",
    "use_backend",
]

cpu.load()
