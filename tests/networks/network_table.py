"""Small networks of every kind of layer, and rows for them."""

import jax.numpy as jnp
import numpy as np

import ntksketch as ntk
from ntksketch import (
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Input,
    LastStep,
    Recurrent,
    Relu,
    Reverse,
    residual,
    serial,
)

COLUMNS, SIGNAL, IMAGE = (4,), (5, 2), (6, 5, 2)

NETWORKS = {
    "mlp": (ntk.mlp(2), COLUMNS),
    "mlp with biases": (ntk.mlp(2, weight_std=1.2, bias_std=0.4), COLUMNS),
    "leaky": (ntk.mlp(1, activation=ntk.LeakyRelu(0.3)), COLUMNS),
    "erf": (ntk.mlp(1, activation=ntk.Erf(), bias_std=0.2), COLUMNS),
    "gelu": (ntk.mlp(1, activation=ntk.Gelu()), COLUMNS),
    "sin": (ntk.mlp(1, activation=ntk.Sin(1.5, 0.8, 0.3)), COLUMNS),
    "tanh": (ntk.mlp(1, activation=ntk.Elementwise(jnp.tanh)), COLUMNS),
    "sum": (serial(Dense(), residual(Relu(), Dense(bias_std=0.3)), Relu(), Dense()), COLUMNS),
    "cnn": (ntk.cnn(2, bias_std=0.3), IMAGE),
    "strides": (
        serial(
            Conv((3, 2), stride=2, padding="valid", weight_std=1.2),
            Relu(),
            Conv(2, padding="circular", bias_std=0.2),
            Relu(),
            Flatten(),
            Dense(),
        ),
        IMAGE,
    ),
    "pool": (
        serial(Conv(), Relu(), AvgPool(2), Conv(3, stride=2), Relu(), Flatten(), Dense()),
        IMAGE,
    ),
    "signals": (ntk.cnn(1, filter_size=3, readout="flatten"), SIGNAL),
    "resnet": (ntk.resnet(2), IMAGE),
    "flat rows": (ntk.cnn(1, shape=IMAGE, padding="circular"), (60,)),
    "rnn": (ntk.rnn(1, bias_std=0.3), SIGNAL),
    "rnn mean": (
        ntk.rnn(2, "mean", weight_std=0.9, input_std=1.2, bias_std=0.3, state_std=0.7),
        SIGNAL,
    ),
    "rnn both ways": (ntk.rnn(1, bidirectional=True, activation=ntk.Erf()), SIGNAL),
    "rnn on pixels": (
        serial(Input(SIGNAL), Reverse(), Conv(2), Recurrent(state_std=0.5), LastStep(), Dense()),
        SIGNAL,
    ),
    "pooled input": (serial(AvgPool(2), Dense(), Relu(), GlobalAvgPool(), Dense()), IMAGE),
    "flat input": (serial(Flatten(), Dense(bias_std=0.2), Relu(), Dense()), IMAGE),
}  # fmt: skip


def rows_for(name, n=3, seed=0, dtype=np.float64):
    shape = NETWORKS[name][1]
    X = np.random.default_rng(seed).standard_normal((n, *shape)).astype(dtype)
    if n > 1:
        X[1] = X[0] + X[1] / 4  # a pair that is close
    return X
