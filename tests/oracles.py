"""Slow, obviously right NumPy versions of what the library computes."""

import functools

import numpy as np
from scipy.linalg import hadamard

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


def tensor_rows(*factors):
    """Row-wise tensor products: row i is the Kronecker product of the factors' rows i."""
    rows = zip(*factors, strict=True)
    return np.stack([functools.reduce(np.kron, row) for row in rows])
