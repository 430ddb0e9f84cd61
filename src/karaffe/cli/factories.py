"""Networks named on the command line: MODULE:FACTORY, and the shapes of their inputs."""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import Any

import torch

from karaffe.errors import ArgumentError


def parse_shape(text: str) -> list[int]:
    """A shape such as ``1,3,512,512``."""
    if not re.fullmatch(r"\d+(,\d+)*", text) or 0 in (sizes := [int(part) for part in text.split(",")]):
        raise ArgumentError(f"--input must be positive sizes with commas, such as 1,3,512,512; got {text!r}")
    return sizes


def build_network(factory: str) -> torch.nn.Module:
    """Call the class or function ``FACTORY`` of ``MODULE`` (the current folder counts), without arguments."""
    module_name, _, name = factory.partition(":")
    if not module_name or not name:
        raise ArgumentError(f"the network must be given as MODULE:FACTORY, such as my_nets:unet; got {factory!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        made: Any = importlib.import_module(module_name)
        for part in name.split("."):
            made = getattr(made, part)
        model = made if isinstance(made, torch.nn.Module) else made()
    except Exception as error:
        raise ArgumentError(f"{factory!r} does not give a network: {type(error).__name__}: {error}") from error
    if not isinstance(model, torch.nn.Module):
        raise ArgumentError(f"{factory!r} gives a {type(model).__name__}, not a torch.nn.Module")
    return model
