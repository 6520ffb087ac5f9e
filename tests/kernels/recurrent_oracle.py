"""Recurrent networks on sequences, slowly: pairs of steps by need, one number after the other."""

import numpy as np
from conv_oracle import relu_moments


class Oracle:
    """S and T of states of a stack of layers at steps i of one sequence and j of another.

    Steps are counted from 1 in each sequence; step 0 is before the first. Sequences are numbered.
    `turned` has the numbers of the layers, from 1, that read what is below backwards.
    """

    def __init__(self, layers, sequences, turned=()):
        self.layers, self.sequences, self.turned, self.known = layers, sequences, turned, {}

    def below(self, depth, x, i, y, j):
        """Return S and T of the inputs of a layer."""
        if depth in self.turned:
            i, j = len(self.sequences[x]) + 1 - i, len(self.sequences[y]) + 1 - j
        if depth == 1:
            return float(self.sequences[x][i - 1] @ self.sequences[y][j - 1]), 0.0
        return self.state(depth - 1, x, i, y, j)

    def pre(self, depth, x, i, y, j):
        """Return S and T of pre-activations of a layer, counted from 1."""
        key = depth, x, i, y, j
        if key not in self.known:
            layer = self.layers[depth - 1]
            w, u, b = layer.weight_std**2, layer.input_std**2, layer.bias_std**2
            below = self.below(depth, x, i, y, j)
            before = self.state(depth, x, i - 1, y, j - 1)
            S = w * before[0] + u * below[0] + b
            self.known[key] = S, S + w * before[1] + u * below[1]
        return self.known[key]

    def state(self, depth, x, i, y, j):
        """Return S and T of states."""
        if i == 0 or j == 0:
            return (self.layers[depth - 1].state_std ** 2 if i == j else 0.0), 0.0
        S, T = self.pre(depth, x, i, y, j)
        a, b = self.pre(depth, x, i, x, i)[0], self.pre(depth, y, j, y, j)[0]
        value, slope = relu_moments(a, b, S)
        return value, T * slope

    def last(self, x, y):
        """Return NNGP and NTK of two sequences with the last states read out."""
        steps = len(self.sequences[x]), len(self.sequences[y])
        value, tangent = self.state(len(self.layers), x, steps[0], y, steps[1])
        return value, tangent + value

    def mean(self, x, y):
        """Return NNGP and NTK of two sequences with the means of their states read out."""
        steps = (range(1, len(self.sequences[k]) + 1) for k in (x, y))
        left, right = steps
        found = [self.state(len(self.layers), x, i, y, j) for i in left for j in right]
        value, tangent = np.mean(found, axis=0)
        return value, tangent + value

    def kernels(self, readout):
        """Return NNGP and NTK of all pairs, of shape (n, n, 2)."""
        numbers = range(len(self.sequences))
        return np.array([[getattr(self, readout)(x, y) for y in numbers] for x in numbers])
