"""Slow, obviously right NumPy versions of what the library computes."""

import functools
import math

import numpy as np
from scipy.linalg import hadamard
from scipy.special import erf

# ---------------------------------------------------------------------------------------------
# Sketches: the matrix S of each map, so that the sketch of the rows X is X @ S
# ---------------------------------------------------------------------------------------------


def count_sketch_matrix(sketch):
    signs, columns = np.asarray(sketch.signs, float), np.asarray(sketch.columns)
    S = np.zeros((len(signs), columns.shape[1]))
    for run in columns:
        for bucket, column in enumerate(run):
            if column < len(signs):
                S[column, bucket] = signs[column]
    return S


def srht_matrix(sketch):
    signs, indices = np.asarray(sketch.signs, float), np.asarray(sketch.indices)
    size = 1
    while size < len(signs):
        size *= 2
    H = hadamard(size)
    return np.diag(signs) @ H[: len(signs), indices] / np.sqrt(len(indices))


def tensor_srht_matrix(sketch):
    """Column j is the Kronecker product of the factors' columns j, rescaled."""
    matrices = [srht_matrix(factor) for factor in sketch.factors]
    m = matrices[0].shape[1]
    columns = [functools.reduce(np.kron, [S[:, j] for S in matrices]) for j in range(m)]
    return np.stack(columns, axis=1) * np.sqrt(m) ** (len(matrices) - 1)


def tensor_sketch_matrix(sketch):
    """Row (i, j, ...) is the circular convolution of the factors' rows i, j, ..."""
    return functools.reduce(_convolve_all_rows, [count_sketch_matrix(f) for f in sketch.factors])


def _convolve_all_rows(A, B):
    m = A.shape[1]
    C = np.zeros((len(A) * len(B), m))
    for i, a in enumerate(A):
        for j, b in enumerate(B):
            for s in range(m):
                for t in range(m):
                    C[i * len(B) + j, (s + t) % m] += a[s] * b[t]
    return C


def osnap_matrix(sketch):
    buckets = np.asarray(sketch.buckets)
    S = np.zeros((buckets.shape[1], sketch.n_components))
    for block in buckets:
        for i, code in enumerate(block):
            if code < 0:
                S[i, -1 - code] -= 1
            else:
                S[i, code] += 1
    return S / math.sqrt(len(buckets))


def complex_tensor_srht_matrix(sketch):
    """Column j is the Kronecker product of complex Hadamard columns; its parts come apart."""
    m = sketch.n_components
    n_draws = (m + 1) // 2
    columns = []
    for j in range(n_draws):
        factors = []
        for units, indices in zip(sketch.units, sketch.indices, strict=True):
            signs = np.asarray(units, float)[0] + 1j * np.asarray(units, float)[1]
            size = 1
            while size < len(signs):
                size *= 2
            factors.append(signs * hadamard(size)[: len(signs), indices[j]])
        columns.append(functools.reduce(np.kron, factors))
    Z = np.stack(columns, axis=1)
    return np.hstack([Z.real, Z.imag[:, : m - n_draws]]) * math.sqrt(2 / m)


def tree_matrix(sketch, power=None, n_columns=None):
    """Matrix of a tree, or of its first factors; of a node as many samples as its parent takes."""

    def leaf(k):
        if sketch.leaves[k] is None:
            return np.eye(sketch.n_features[k])
        oracles = {"OSNAP": osnap_matrix, "CountSketch": count_sketch_matrix, "SRHT": srht_matrix}
        return oracles[type(sketch.leaves[k]).__name__](sketch.leaves[k])

    def matrix(start, stop, n_columns=None):
        if stop - start == 1:
            return leaf(start)
        middle = start + 1
        while middle - start < (stop - start) / 2:
            middle = start + 2 * (middle - start)
        node = sketch.nodes[start, stop]
        left, right = node.n_features
        children = np.kron(matrix(start, middle, left), matrix(middle, stop, right))
        m = node.n_components
        taken = m if n_columns is None else n_columns
        if type(node).__name__ == "TensorSRHT":
            Z = children @ tensor_srht_matrix(node)[:, :taken]
        else:
            Z = children @ complex_tensor_srht_matrix(node)
            real, imaginary = Z[:, : (m + 1) // 2], Z[:, (m + 1) // 2 :]
            Z = np.hstack([real[:, : (taken + 1) // 2], imaginary[:, : taken // 2]])
        return Z * math.sqrt(m / taken)

    return matrix(0, power or len(sketch.leaves), n_columns)


def tensor_rows(*factors):
    """Row-wise tensor products: row i is the Kronecker product of the factors' rows i."""
    rows = zip(*factors, strict=True)
    return np.stack([functools.reduce(np.kron, row) for row in rows])


# ---------------------------------------------------------------------------------------------
# Polynomial sketches: row by row, with the matrices of the drawn sketches
# ---------------------------------------------------------------------------------------------


def tensor_power(x, j):
    return functools.reduce(np.kron, [x] * j, np.ones(1))


def power_features(feature_map, X):
    """|x| times the weighted powers of x/|x|; whole tensor powers in place of monomials."""
    plan, (_, linear, tree) = feature_map
    columns = dict(plan.powers)

    def features(x):
        norm = np.sqrt(x @ x)
        for j, coefficient in enumerate(plan.coefficients):
            power = tensor_power(x / norm, j)
            if j == 1 and j in columns:
                power = power @ osnap_matrix(linear)
            elif j in columns:
                power = power @ tree_matrix(tree, j, columns[j])
            if coefficient:
                yield norm * math.sqrt(coefficient) * power

    return np.stack([np.concatenate(list(features(x))) for x in X])


def layered_features(feature_map, X, kind):
    """NTKSketch (Zandieh et al. 2021, Algorithm 1) of a bias-free network of unit weights."""
    plan, (sketch, layers, gaussian) = feature_map

    def polynomial(mixture, coefficients, columns, phi):
        parts = []
        for j, coefficient in enumerate(coefficients):
            power = tensor_power(phi, j)
            if j > 1 and coefficient:
                power = power @ tree_matrix(mixture.tree, j, columns[j])
            if coefficient:
                parts.append(math.sqrt(coefficient) * power)
        return np.concatenate(parts) @ srht_matrix(mixture.mix)

    def features(x):
        norm = np.sqrt(x @ x)
        phi = x / norm
        inputs = {"OSNAP": osnap_matrix, "SRHT": srht_matrix}.get(type(sketch).__name__)
        if inputs:
            phi = phi @ inputs(sketch)
        psi = phi
        for relu, dense in zip(layers[::2], layers[1::2], strict=True):
            if kind == "ntk":
                steps = polynomial(relu.slope, plan.slope, dict(plan.slope_columns), phi)
                psi = np.kron(psi, steps) @ tensor_srht_matrix(relu.product)
            phi = polynomial(relu.value, plan.value, dict(plan.value_columns), phi)
            if kind == "ntk":
                psi = np.concatenate([phi, psi]) @ srht_matrix(dense)
        return norm * (psi if kind == "ntk" else phi) @ gaussian

    return np.stack([features(x) for x in X])


# ---------------------------------------------------------------------------------------------
# Exact kernels: one pair of rows at a time, in scalars
# ---------------------------------------------------------------------------------------------


def relu_products(angle):
    """E[f(u)f(v)] and E[f'(u)f'(v)], f = sqrt(2) relu, for unit normals whose cosine has an angle.

    The mean of relu(u) relu(v) is (sin a + (pi - a) cos a) / (2 pi), and u, v are both positive
    with probability (pi - a) / (2 pi).
    """
    relu = (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / (2 * math.pi)
    step = (math.pi - angle) / (2 * math.pi)
    return 2 * relu, 2 * step


def normal_density(z):
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def pointwise(layer):
    """The function of an activation and its derivative, of NumPy arrays."""
    name = type(layer).__name__
    if name == "Erf":
        return erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-z * z)
    if name == "Gelu":
        law = lambda z: (1 + erf(z / np.sqrt(2))) / 2  # noqa: E731
        return lambda z: z * law(z), lambda z: law(z) + z * normal_density(z)
    if name == "Sin":
        a, b, c = layer.amplitude, layer.frequency, layer.phase
        return lambda z: a * np.sin(b * z + c), lambda z: a * b * np.cos(b * z + c)
    if name == "Elementwise":
        return layer.function, layer.derivative
    raise NotImplementedError(layer)


def gaussian_products(function, xx, yy, xy):
    """E f(u)f(v) for normal u, v with these covariances, on a grid of two independent normals.

    Equal steps converge faster than any power for smooth functions under a normal density.
    """
    step = 1 / 10
    z = np.arange(-9, 9 + step, step)
    weight = step * normal_density(z)
    u = math.sqrt(xx) * z[:, None]
    along = xy / math.sqrt(xx) if xx > 0 else 0.0
    v = along * z[:, None] + math.sqrt(max(yy - along**2, 0.0)) * z[None, :]
    return float(weight @ (function(u) * function(v)) @ weight)


def kernels_of_pair(architecture, x, y, same_row):
    """NNGP and NTK of a pair of rows, layer by layer."""
    pairs = ((x, x), (y, y), (x, y))
    products = (math.fsum(a * b for a, b in zip(*pair, strict=True)) for pair in pairs)
    return kernels_behind(architecture, same_row, *products, 0.0)[2:]


def kernels_behind(layers, same_row, xx, yy, xy, ntk):
    """NNGP of each row, NNGP and NTK of the pair, layer by layer."""
    for layer in layers:
        if type(layer).__name__ == "Residual":  # branches have weights of their own
            sums = [
                kernels_behind(branch, same_row, xx, yy, xy, ntk)
                for branch in (layer.branch, layer.shortcut or ())
            ]
            xx, yy, xy, ntk = (a + b for a, b in zip(*sums, strict=True))
        elif type(layer).__name__ == "Dense":
            weight, bias = layer.weight_std**2, layer.bias_std**2
            xx, yy, xy = (weight * s + bias for s in (xx, yy, xy))
            ntk = weight * ntk + xy  # earlier parameters, then this layer's own
        elif type(layer).__name__ in ("Relu", "LeakyRelu"):
            length = math.sqrt(xx) * math.sqrt(yy)
            if length == 0:  # one of the pre-activations is zero for certain
                xy, ntk = 0.0, 0.0
                continue
            angle = 0.0 if same_row else math.acos(max(-1.0, min(1.0, xy / length)))
            relu, step = relu_products(angle)
            # (1 - a) relu(z) + a z, by E relu(u) v = xy/2 and E step(u) = 1/2
            a, scale = layer.slope, 2 / (1 + layer.slope**2)
            cross = a * (1 - a) + a**2
            xy = scale * ((1 - a) ** 2 * length * relu / 2 + cross * xy)
            ntk = ntk * scale * ((1 - a) ** 2 * step / 2 + cross)
        else:
            function, derivative = pointwise(layer)
            ntk = ntk * gaussian_products(derivative, xx, yy, xy)
            xx, yy, xy = (
                gaussian_products(function, *s) for s in ((xx, xx, xx), (yy, yy, yy), (xx, yy, xy))
            )
    return xx, yy, xy, ntk


def network_kernels(architecture, X, Y=None):
    """The matrices {"nngp": ..., "ntk": ...} between rows; Y = None compares X with itself."""
    X = np.asarray(X, np.float64)
    Z = X if Y is None else np.asarray(Y, np.float64)
    pairs = [
        [kernels_of_pair(architecture, x, z, Y is None and i == j) for j, z in enumerate(Z)]
        for i, x in enumerate(X)
    ]
    nngp, ntk = np.moveaxis(np.array(pairs), -1, 0)
    return {"nngp": nngp, "ntk": ntk}
