"""Train super-resolution networks: seeded, resumable to the bit, one folder a run."""

from karaffe.training.config import SRConfig, load_config
from karaffe.training.sr import TrainingResult, train_sr

__all__ = ["SRConfig", "TrainingResult", "load_config", "train_sr"]
