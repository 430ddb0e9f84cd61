"""Content-aware feature upsampling for PyTorch."""
