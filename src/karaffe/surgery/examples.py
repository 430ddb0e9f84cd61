"""Example inputs in every form that users hand them over, and running a model on one without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from karaffe.errors import ArgumentError


@dataclass(frozen=True)
class Baseline:
    """What the network gave before surgery, in one mode."""

    example: Inputs
    training: bool
    output: Any


class Inputs:
    """One example: the positional and keyword arguments of the model's call, ``Inputs(image, mask=mask)``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        return f"Inputs({len(self.args)} positional, {', '.join(self.kwargs) or 'no keywords'})"


def read_examples(example_inputs: Any) -> list[Inputs]:
    """A tensor, a tuple of positional arguments, a dict of keyword arguments, :class:`Inputs`, or a list of these."""
    given = example_inputs if isinstance(example_inputs, list) else [example_inputs]
    if not given:
        raise ArgumentError("example_inputs is empty; give at least one input that the model accepts")
    return [_read_one(one) for one in given]


def _read_one(one: Any) -> Inputs:
    if isinstance(one, Inputs):
        return one
    if isinstance(one, Tensor):
        return Inputs(one)
    if isinstance(one, tuple):
        return Inputs(*one)
    if isinstance(one, Mapping):
        return Inputs(**one)
    raise ArgumentError(
        "example_inputs must be a tensor, a tuple of positional arguments, a dict of keyword arguments, "
        f"karaffe.surgery.Inputs, or a list of these; got {type(one).__name__}"
    )


@contextmanager
def untouched(model: nn.Module, training: bool = False) -> Iterator[None]:
    """Without gradients and in evaluation (or training) mode; modes, buffers and random state as before after it."""
    modes = {module: module.training for module in model.modules()}
    buffers = {buffer: buffer.detach().clone() for buffer in model.buffers()}
    state = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        with torch.no_grad():
            model.train(training)
            # Each run draws the same numbers (dropout), so that runs can be compared.
            torch.manual_seed(0)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, before in buffers.items():
                buffer.copy_(before)
        torch.set_rng_state(state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


def run(model: nn.Module, example: Inputs, number: int) -> Any:
    """The model's output.

    Raises:
        ArgumentError: the model fails on the example; its own error is the cause.
    """
    try:
        return model(*example.args, **example.kwargs)
    except Exception as error:
        raise ArgumentError(
            f"the model's forward fails on example_inputs[{number}]: {type(error).__name__}: {error}"
        ) from error
