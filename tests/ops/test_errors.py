"""Every wrong argument of the operators gives one error that names it, what was given and what is accepted."""

from __future__ import annotations

import pytest
import torch

from karaffe import errors, ops

X = torch.zeros(2, 4, 3, 5)
A = torch.zeros(2, 25, 6, 10)
Q = torch.zeros(2, 4, 6, 10)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: ops.reassemble(X[0, 0], A, 5), errors.ShapeError, r"input must have 3, 4 or 5 .*\(3, 5\)"),
        (lambda: ops.reassemble(X, A[0], 5), errors.ShapeError, r"kernels must have as many dimensions as input"),
        (lambda: ops.reassemble(X[:1], A, 5), errors.ShapeError, r"one batch size; got 1 and 2"),
        (lambda: ops.reassemble(X, A, 3), errors.ShapeError, r"1 \* 9 = 9 channels .*got 25"),
        (lambda: ops.reassemble(X, A, 5, groups=2), errors.ShapeError, r"2 \* 25 = 50 channels"),
        (lambda: ops.reassemble(X, A, 5, groups=3), errors.ArgumentError, r"groups must .* divides the 4 channels"),
        (lambda: ops.reassemble(X, A, 5, groups=0), errors.ArgumentError, r"got groups=0"),
        (
            lambda: ops.reassemble(X, A, 0),
            errors.ArgumentError,
            r"kernel_size must be a positive int.*got kernel_size=0",
        ),
        (lambda: ops.reassemble(X, A, (5, 5, 5)), errors.ArgumentError, r"or 2 of them"),
        (lambda: ops.reassemble(X, A, 5, dilation=-1), errors.ArgumentError, r"dilation must be a positive int"),
        (lambda: ops.reassemble(X, A, 5, padding_mode="wrap"), errors.ArgumentError, r"padding_mode .*'wrap'"),
        (lambda: ops.reassemble(X, A, 5, alignment="left"), errors.ArgumentError, r"alignment .*'left'"),
        (
            lambda: ops.reassemble(X, A.double(), 5),
            errors.DtypeError,
            r"one dtype; got torch.float32 and torch.float64",
        ),
        (lambda: ops.reassemble(X.long(), A.long(), 5), errors.DtypeError, r"must be float32, float64"),
        (lambda: ops.reassemble(X, A.to("meta"), 5), errors.DtypeError, r"one device; got [a-z0-9:]+ and meta"),
        (lambda: ops.reassemble(X[:, :, :0], A, 5), errors.ShapeError, r"empty only in its batch"),
        (lambda: ops.reassemble(X, A, 5, backend="gpu"), errors.UnknownNameError, r"unknown backend 'gpu'"),
        (lambda: ops.reassemble(X.to("meta"), A.to("meta"), 5, backend="cpu"), errors.BackendError, r"serves cpu"),
        (lambda: ops.correlate(X, Q[:, :3], 5), errors.ShapeError, r"as many channels; got 4 and 3"),
        (lambda: ops.correlate(X, Q, 5, groups=3), errors.ArgumentError, r"groups must"),
        (lambda: ops.scatter(A, Q[..., :4], 5, (3, 5)), errors.ShapeError, r"same target sizes"),
        (lambda: ops.scatter(A, Q, 5, (3,)), errors.ArgumentError, r"input_size must be 2 positive ints"),
        (lambda: ops.scatter(A, Q, 5, (0, 5)), errors.ArgumentError, r"got \(0, 5\)"),
        (
            lambda: ops.reassemble_logits(X, torch.zeros(2, 99, 3, 5), 5),
            errors.ShapeError,
            r"1 \* 25 \* 4 = 100 .*got 99",
        ),
        (lambda: ops.reassemble_logits(X, A, 5), errors.ShapeError, r"same target sizes"),
        (
            lambda: ops.reassemble_logits(X, torch.zeros(2, 100, 3, 5), 5, normalizer="max"),
            errors.ArgumentError,
            r"normalizer must be one of 'softmax'",
        ),
        (
            lambda: ops.reassemble_logits(X, torch.zeros(2, 100, 3, 5), 5, padding_mode="mask", normalizer="sigmoid"),
            errors.ArgumentError,
            r"padding_mode='mask' needs a normalizer that sums to one",
        ),
        (lambda: ops.carafe(X, A, 5, 1, 3), errors.ShapeError, r"masks must be \(9, 15\)"),
        (lambda: ops.carafe(X, A, 4, 1, 2), errors.ArgumentError, r"kernel_size must be an odd int"),
        (lambda: ops.carafe(X, A, 5, 1, 0), errors.ArgumentError, r"scale_factor must be an int of at least 1"),
    ],
)
def test_wrong_argument(call, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        call()
    assert isinstance(caught.value, errors.KaraffeError)
    assert isinstance(caught.value, ValueError | TypeError | RuntimeError)


def test_use_backend_is_left_as_it_was_found() -> None:
    with (
        pytest.raises(errors.UnknownNameError, match="unknown backend 'refrence'; did you mean 'reference'"),
        ops.use_backend("refrence"),
    ):
        pass
    with pytest.raises(ZeroDivisionError), ops.use_backend("reference"):
        raise ZeroDivisionError
    assert ops.reassemble(X, A, 5).shape == (2, 4, 6, 10)
