"""Networks on images, slowly: every pair of pixels of every pair of images, in loops."""

import itertools

import numpy as np

from ntksketch import AvgPool, Conv, Dense, Flatten, GlobalAvgPool, Input, Relu, Residual, Serial


def relu_moments(a, b, c):
    """Return E f(u) f(v) and E f'(u) f'(v) for sqrt(2) relu and covariance [[a, c], [c, b]]."""
    if a <= 0 or b <= 0:
        return 0.0, 0.5
    norm = np.sqrt(a * b)
    t = min(1.0, max(-1.0, c / norm))
    angle = np.arccos(t)
    return norm * (np.sin(angle) + (np.pi - angle) * t) / np.pi, (np.pi - angle) / np.pi


class Pair:
    """Covariances S and T of the pixels of two images, by their indices."""

    def __init__(self, shapes, S, T):
        self.shapes, self.S, self.T = shapes, S, T


def pixels(shape):
    return list(itertools.product(*map(range, shape)))


def start(x, y):
    S = {(i, j): float(x[i] @ y[j]) for i in pixels(x.shape[:-1]) for j in pixels(y.shape[:-1])}
    return Pair(x.shape[:-1], S, dict.fromkeys(S, 0.0))


def sizes(value, n_axes):
    return (value,) * n_axes if isinstance(value, int) else tuple(value)


def taps(layer, shape):
    """Return the new shape, and for each new pixel its list of old ones, None being outside."""
    if isinstance(layer, AvgPool):
        window = sizes(layer.window_size, len(shape))
        stride = window if layer.stride is None else sizes(layer.stride, len(shape))
        padding = "valid"
    else:
        window = sizes(layer.filter_size, len(shape))
        stride, padding = sizes(layer.stride, len(shape)), layer.padding
    counts, starts = [], []
    for q, s, n in zip(window, stride, shape, strict=True):
        if padding == "valid":
            counts.append((n - q) // s + 1)
            starts.append(0)
        elif padding == "circular":
            counts.append(int(np.ceil(n / s)))
            starts.append(-((q - 1) // 2))
        else:
            counts.append(int(np.ceil(n / s)))
            missing = max(0, (counts[-1] - 1) * s + q - n)
            starts.append(-(missing // 2))
    found = {}
    for new in pixels(counts):
        found[new] = []
        for offset in pixels(window):
            old = [s * i + b + o for s, i, b, o in zip(stride, new, starts, offset, strict=True)]
            if padding == "circular":
                old = [k % n for k, n in zip(old, shape, strict=True)]
            inside = all(0 <= k < n for k, n in zip(old, shape, strict=True))
            found[new].append(tuple(old) if inside else None)
    return tuple(counts), found


def combine(values, lists):
    """Average values over pairs of pixels, of which those outside count as zero."""
    return sum(values[i, j] for i, j in lists if i is not None and j is not None) / len(lists)


def through(layer, xx, xy, yy):
    """Return the three pairs behind a layer."""
    if isinstance(layer, Input):
        return xx, xy, yy
    if isinstance(layer, Serial):
        for inner in layer:
            xx, xy, yy = through(inner, xx, xy, yy)
        return xx, xy, yy
    if isinstance(layer, Residual):
        branch = through(layer.branch, xx, xy, yy)
        other = (xx, xy, yy) if layer.shortcut is None else through(layer.shortcut, xx, xy, yy)
        return tuple(
            Pair(
                a.shapes,
                {k: a.S[k] + b.S[k] for k in a.S},
                {k: a.T[k] + b.T[k] for k in a.T},
            )
            for a, b in zip(branch, other, strict=True)
        )
    if isinstance(layer, Relu):
        return tuple(rectified(p, xx, yy, k) for k, p in enumerate((xx, xy, yy)))
    return tuple(linear(layer, p) for p in (xx, xy, yy))


def rectified(pair, xx, yy, which):
    left, right = (xx, xx) if which == 0 else (xx, yy) if which == 1 else (yy, yy)
    S, T = {}, {}
    for i, j in pair.S:
        value, slope = relu_moments(left.S[i, i], right.S[j, j], pair.S[i, j])
        S[i, j], T[i, j] = value, pair.T[i, j] * slope
    return Pair(pair.shapes, S, T)


def linear(layer, pair):
    shape = pair.shapes
    if isinstance(layer, Dense | Conv):
        if isinstance(layer, Conv):
            shape, near = taps(layer, shape)
        else:
            near = {i: [i] for i in pixels(shape)}
        w, b = layer.weight_std**2, layer.bias_std**2
        S, T = {}, {}
        for i, j in itertools.product(near, near):
            lists = list(zip(near[i], near[j], strict=True))
            S[i, j] = w * combine(pair.S, lists) + b
            T[i, j] = w * combine(pair.T, lists) + S[i, j]
        return Pair(shape, S, T)
    if isinstance(layer, AvgPool):
        shape, near = taps(layer, shape)
    elif isinstance(layer, GlobalAvgPool):
        shape, near = (), {(): pixels(shape)}
    elif isinstance(layer, Flatten):
        diagonal = [(i, i) for i in pixels(shape)]
        return Pair(
            (), {((), ()): combine(pair.S, diagonal)}, {((), ()): combine(pair.T, diagonal)}
        )
    both = {(i, j): list(itertools.product(near[i], near[j])) for i in near for j in near}
    return Pair(shape, *({k: combine(v, both[k]) for k in both} for v in (pair.S, pair.T)))


def conv_kernel(architecture, x, y):
    """Return NNGP and NTK of two images of shape (height, width, channels)."""
    _, xy, _ = through(architecture, start(x, x), start(x, y), start(y, y))
    return xy.S[(), ()], xy.T[(), ()]
