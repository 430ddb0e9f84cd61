"""Networks written from their papers' equations in NumPy, float64: loops over taps, nothing of karaffe or torch.nn.

A network is a function of a state_dict's arrays (official names) and its inputs, one picture ``(C, H, W)`` at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

Array = np.ndarray
State = Mapping[str, Array]


def convolution(x: Array, weight: Array, bias: Array | None = None, border: str = "constant") -> Array:
    """Odd kernels, stride 1, same size."""
    r = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (r, r), (r, r)), mode=border)
    height, width = x.shape[1:]
    y = np.zeros((weight.shape[0], height, width))
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            y += np.einsum("oc,chw->ohw", weight[:, :, i, j], padded[:, i : i + height, j : j + width])
    return y if bias is None else y + bias[:, None, None]


def batch_norm(x: Array, s: State, name: str) -> Array:
    mean, variance, weight, bias = (s[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    return ((x.T - mean) / np.sqrt(variance + 1e-5) * weight + bias).T


def group_norm(x: Array, groups: int, weight: Array, bias: Array) -> Array:
    parts = []
    for part in np.split(x, groups):
        parts.append((part - part.mean()) / np.sqrt(part.var() + 1e-5))
    return np.concatenate(parts) * weight[:, None, None] + bias[:, None, None]


def layer_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def nearest(x: Array, height: int, width: int) -> Array:
    rows, columns = (np.arange(t) * n // t for n, t in zip(x.shape[1:], (height, width), strict=True))
    return x[:, rows][:, :, columns]


def mean_of_bins(x: Array, height: int, width: int) -> Array:
    """Adaptive average pooling."""
    y = np.empty((len(x), height, width))
    for i in range(height):
        for j in range(width):
            rows, columns = (
                slice(p * n // t, -(-(p + 1) * n // t)) for p, n, t in ((i, x.shape[1], height), (j, x.shape[2], width))
            )
            y[:, i, j] = x[:, rows, columns].mean((1, 2))
    return y


def twice_with_corners(x: Array) -> Array:
    """Bilinear interpolation by 2 whose corner pixels are the source's."""
    for axis in (1, 2):
        n = x.shape[axis]
        at = np.arange(2 * n) * (n - 1) / (2 * n - 1)
        low = np.minimum(np.floor(at).astype(int), n - 1)
        share = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, n - 1), axis) * share
    return x


def kept_channels(x: Array, count: int) -> Array:
    """The first ``count`` channels of x, zeros where it has fewer."""
    return np.concatenate([x, np.zeros((max(0, count - len(x)), *x.shape[1:]))])[:count]


def uplift(s: State, x: Array, image: Array, steps: int, footprint: Sequence[tuple[int, int]]) -> Array:
    """Walmer et al., CVPR 2026, section 3; ``footprint``: the neighbours (row, column) that are mixed."""

    def block(name: str, x: Array) -> Array:
        """3 x 3 convolutions with normalisation and rectifier, a 1 x 1, and the input's channels added."""
        y, layer = x, 0
        while s[f"{name}.blocks.0.conv.{layer}.weight"].shape[2] == 3:
            y = convolution(y, s[f"{name}.blocks.0.conv.{layer}.weight"])
            y = np.maximum(batch_norm(y, s, f"{name}.blocks.0.conv.{layer + 1}"), 0)
            layer += 3
        last = f"{name}.blocks.0.conv.{layer}"
        y = convolution(y, s[f"{last}.weight"], s[f"{last}.bias"])
        return y + kept_channels(x, len(y))

    maps = [image]
    for i in range(5):
        maps.append(block(f"encoder.block_{i}", maps[-1]))
    for _ in range(steps):
        height, width = x.shape[1:]
        y = block("decoder.block_0", np.concatenate([x, nearest(maps[5], height, width)]))
        larger = np.empty((len(y), 2 * height, 2 * width))
        for r in range(2):
            for q in range(2):  # a transposed convolution of 2 x 2 taps and stride 2: every sub-pixel by itself
                tap = s["decoder.up_1.up.weight"][:, :, r, q]
                larger[:, r::2, q::2] = np.einsum("io,ihw->ohw", tap, y)
        larger += s["decoder.up_1.up.bias"][:, None, None] + twice_with_corners(y)
        g = block("decoder.block_1", np.concatenate([larger, nearest(maps[4], 2 * height, 2 * width)]))
        a = convolution(g, s["attender.conv1.weight"], s["attender.conv1.bias"]) + g[: len(footprint)]
        weights = softmax(a, 0)
        parents = [np.arange(2 * n) // 2 for n in (height, width)]
        z = np.zeros((len(x), 2 * height, 2 * width))
        for t, (dy, dx) in enumerate(footprint):
            rows, columns = np.clip(parents[0] + dy, 0, height - 1), np.clip(parents[1] + dx, 0, width - 1)
            z += weights[t] * x[:, rows][:, :, columns]
        x = z
    return x


def fourier(s: State, name: str, values: Array, frequencies: int) -> Array:
    """Sines, then cosines, of values ``(V, H, W)`` at frequencies exp(-2) to exp(10), with learned phases.

    The phases lie in memory as (2, V, F) and are read as (2, F, V), as released.
    """
    phases = s[f"{name}.biases"].reshape(2, frequencies, len(values))
    octaves = np.exp(np.linspace(-2, 10, frequencies))
    angle = octaves[:, None, None, None] * values
    sine, cosine = (angle + phase[:, :, None, None] for phase in phases)
    return np.concatenate([np.sin(sine).reshape(-1, *values.shape[1:]), np.cos(cosine).reshape(-1, *values.shape[1:])])


def places(height: int, width: int) -> Array:
    """Rows and columns in [-1, 1]."""
    return np.stack(np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"))


def loftup(s: State, x: Array, image: Array, heads: int, frequencies: int) -> Array:
    """Huang et al., ICCV 2025, section 3, with the sine code of source places."""
    low, high = (f((1, 2), keepdims=True) for f in (image.min, image.max))
    colours = (image - low) / np.maximum(high - low, 1e-4) - 0.5
    height, width = image.shape[1:]
    values = np.concatenate([places(height, width), colours])
    z = np.concatenate([fourier(s, "fourier_feat.1", values, frequencies), colours])
    z = layer_norm(z.transpose(1, 2, 0), s["first_conv.0.norm.weight"], s["first_conv.0.norm.bias"]).transpose(2, 0, 1)
    for i in (1, 4):
        z = convolution(z, s[f"first_conv.{i}.weight"], s[f"first_conv.{i}.bias"])
        z = np.maximum(batch_norm(z, s, f"first_conv.{i + 1}"), 0)
    source = np.concatenate([x, fourier(s, "lr_pe", places(*x.shape[1:]), 5)])
    query, source = z.reshape(len(z), -1).T, source.reshape(len(source), -1).T
    layer = 0
    while (name := f"ca_transformer.layers.{layer}") + ".0.norm_q.weight" in s:
        query = query + multi_head(s, f"{name}.0", query, source, heads)
        h = layer_norm(query, s[f"{name}.1.net.0.weight"], s[f"{name}.1.net.0.bias"])
        h = gelu(h @ s[f"{name}.1.net.1.weight"].T + s[f"{name}.1.net.1.bias"])
        query = query + h @ s[f"{name}.1.net.4.weight"].T + s[f"{name}.1.net.4.bias"]
        layer += 1
    query = layer_norm(query, s["ca_transformer.norm.weight"], s["ca_transformer.norm.bias"])
    y = query @ s["final_conv.0.weight"][:, :, 0, 0].T + s["final_conv.0.bias"]
    y = layer_norm(y, s["final_conv.1.weight"], s["final_conv.1.bias"], 1e-6)
    return y.T.reshape(-1, height, width)


def multi_head(s: State, name: str, query: Array, source: Array, heads: int) -> Array:
    """softmax(q k / sqrt(d)) v of every head, projected; both sides normalised first."""
    query = layer_norm(query, s[f"{name}.norm_q.weight"], s[f"{name}.norm_q.bias"])
    source = layer_norm(source, s[f"{name}.norm_kv.weight"], s[f"{name}.norm_kv.bias"])
    weights = np.split(s[f"{name}.attention.in_proj_weight"], 3)
    biases = np.split(s[f"{name}.attention.in_proj_bias"], 3)
    q, k, v = (t @ w.T + b for t, w, b in zip((query, source, source), weights, biases, strict=True))
    parts = []
    for qh, kh, vh in zip(*(np.split(t, heads, 1) for t in (q, k, v)), strict=True):
        parts.append(softmax(qh @ kh.T / math.sqrt(qh.shape[1]), 1) @ vh)
    return np.concatenate(parts, 1) @ s[f"{name}.attention.out_proj.weight"].T + s[f"{name}.attention.out_proj.bias"]


def naf(s: State, x: Array, image: Array, target: tuple[int, int], heads: int, kernel: int, layers: int) -> Array:
    """Chambon et al., 2025, section 3: the image's code alone decides the kernels."""
    branches = []
    for name in ("encoder", "sem_encoder"):

        def layer(y: Array, at: str) -> Array:
            return convolution(y, s[f"{at}.weight"], s[f"{at}.bias"], "reflect")

        y = layer(image, f"image_encoder.{name}.0")
        for i in range(1, layers + 1):
            for j in (1, 2):
                at = f"image_encoder.{name}.{i}"
                y = silu(group_norm(y, 8, s[f"{at}.norm{j}.weight"], s[f"{at}.norm{j}.bias"]))
                y = layer(y, f"{at}.conv{j}")
        branches.append(y)
    query = np.stack(np.split(mean_of_bins(np.concatenate(branches), *target), heads))
    each = query.shape[1]
    for axis in range(2):
        place = (2 * np.arange(target[axis]) + 1) / target[axis] - 1
        for i in range(each // 4):
            angle = 2 * np.pi * place / 100 ** (2 * i / (each / 2))
            angle = angle[:, None] if axis == 0 else angle[None]
            low, high = axis * each // 4 + i, axis * each // 4 + i + each // 2
            a, b = query[:, low].copy(), query[:, high].copy()
            query[:, low], query[:, high] = a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)
    sizes = x.shape[1:]
    key = np.stack([mean_of_bins(q, *sizes) for q in query])
    value = np.stack(np.split(x, heads))
    out = np.empty((heads, value.shape[1], *target))
    for i in range(target[0]):
        for j in range(target[1]):
            starts = (
                min(max((2 * p + 1) * n // (2 * t) - kernel // 2, 0), n - kernel)
                for p, n, t in zip((i, j), sizes, target, strict=True)
            )
            rows, columns = (slice(b, b + kernel) for b in starts)
            for h in range(heads):
                logits = np.einsum("c,ckl->kl", query[h, :, i, j], key[h, :, rows, columns]) / math.sqrt(each)
                weights = softmax(logits.ravel(), 0)
                out[h, :, i, j] = value[h, :, rows, columns].reshape(value.shape[1], -1) @ weights
    return out.reshape(-1, *target)
