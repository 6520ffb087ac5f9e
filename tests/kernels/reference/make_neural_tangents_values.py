"""Write neural_tangents.npz: kernels of neural-tangents, to which ours are compared.

neural-tangents 0.6.5 does not import with the JAX that ntksketch needs, so it gets an environment
of its own, which nothing else shares:

    python -m venv nt
    nt/bin/pip install 'neural-tangents==0.6.5' 'jax==0.4.35' 'jaxlib==0.4.35'
    nt/bin/python tests/kernels/reference/make_neural_tangents_values.py

Normalisation. In the "ntk" parameterisation a Dense layer of neural-tangents maps

    nngp' = W_std^2 nngp + b_std^2,        ntk' = W_std^2 ntk + nngp',

as ours does, with two differences. Its input covariance is <x, y>/d, ours <x, y>: the first layer
gets W_std = sqrt(d) weight_std. Its Relu is max(z, 0), ours sqrt(2) max(z, 0): a Dense layer behind
a Relu gets W_std = sqrt(2) weight_std. Biases are the same.
"""

from pathlib import Path

import numpy as np

DEPTHS = (1, 2, 3, 4, 5)
STDS = ((1.0, 0.0), (1.0, 0.3), (1.3, 0.3))  # weight_std, bias_std


def rows():
    """Return 12 x 6 rows: generic ones, other norms, near-parallel, near-opposite, orthogonal."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 6))
    X[3] *= 100
    X[4] /= 100
    X[5] = X[0] + 1e-3 * rng.standard_normal(6)
    X[6] = -2 * X[1] + 1e-2 * rng.standard_normal(6)
    X[7] -= X[7] @ X[2] / (X[2] @ X[2]) * X[2]
    X[8] = np.eye(6)[0]
    X[9] = np.abs(X[9])
    return X


def mlp(stax, n_columns, depth, weight_std, bias_std):
    layers = [stax.Dense(1, weight_std * n_columns**0.5, bias_std, parameterization="ntk")]
    for _ in range(depth):
        layers += [
            stax.Relu(),
            stax.Dense(1, weight_std * 2**0.5, bias_std, parameterization="ntk"),
        ]
    return stax.serial(*layers)[-1]


def main():
    # imported here, since pytest imports this file to look for doctests
    import jax
    import neural_tangents
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    X = rows()
    arrays = {"X": X}
    for depth in DEPTHS:
        for weight_std, bias_std in STDS:
            kernel_fn = mlp(stax, X.shape[1], depth, weight_std, bias_std)
            kernels = kernel_fn(X, None, ("ntk", "nngp"))
            for kind in ("ntk", "nngp"):
                name = f"{kind} depth={depth} weight_std={weight_std} bias_std={bias_std}"
                arrays[name] = np.asarray(getattr(kernels, kind), dtype=np.float64)
    versions = f"neural-tangents {neural_tangents.__version__}, jax {jax.__version__}"
    arrays["versions"] = np.array(versions)
    np.savez_compressed(Path(__file__).with_name("neural_tangents.npz"), **arrays)


if __name__ == "__main__":
    main()
