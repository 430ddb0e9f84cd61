"""Content-aware feature upsampling for PyTorch."""

from karaffe import errors, ops

__version__ = "0.1.0"
__all__ = ["errors", "ops"]
