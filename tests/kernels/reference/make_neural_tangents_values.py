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
a Relu gets W_std = sqrt(2) weight_std. Biases are the same. Convolutions, which average over their
windows in both, get the same factors; d is the number of channels.
"""

from pathlib import Path
from types import SimpleNamespace

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


def pictures():
    """Return 4 images of 5 x 6 x 2: generic ones, another norm, two that are nearly opposite."""
    rng = np.random.default_rng(1)
    images = rng.standard_normal((4, 5, 6, 2))
    images[1] *= 10
    images[3] = -0.5 * images[0] + 1e-2 * rng.standard_normal((5, 6, 2))
    return images


def signals():
    """Return 4 signals of 7 x 3."""
    return np.random.default_rng(2).standard_normal((4, 7, 3))


def networks(library):
    """Return networks on images, and on signals, made of a library's layers.

    Parameters
    ----------
    library : module or namespace
        Has serial, residual, Conv, AvgPool, GlobalAvgPool, Flatten, Relu and Dense, with the
        arguments of ntksketch's.
    """
    serial, residual, Conv, Dense = library.serial, library.residual, library.Conv, library.Dense
    Relu, AvgPool = library.Relu, library.AvgPool
    GlobalAvgPool, Flatten = library.GlobalAvgPool, library.Flatten
    biased = Conv(3, weight_std=1.2, bias_std=0.3)
    gap, flat = (GlobalAvgPool(), Dense()), (Flatten(), Dense(0.9, 0.2))
    return {
        "same": serial(Conv(), Relu(), Conv(), Relu(), *gap),
        "same bias flatten": serial(biased, Relu(), biased, Relu(), *flat),
        "valid": serial(Conv(3, padding="valid"), Relu(), Conv((2, 3), padding="valid"), *gap),
        "valid flatten": serial(Conv(3, padding="valid", bias_std=0.5), Relu(), *flat),
        "circular": serial(Conv(3, padding="circular"), Relu(), Conv(3, padding="circular"), *gap),
        "circular flatten": serial(Conv((3, 5), padding="circular"), Relu(), *flat),
        "stride same": serial(Conv(3, 2), Relu(), Conv(3, (1, 2)), Relu(), *gap),
        "stride same even": serial(Conv((2, 4), 2), Relu(), Conv(2), Relu(), *flat),
        "stride valid": serial(Conv(2, 2, "valid"), Relu(), Conv(2, 1, "valid"), Relu(), *gap),
        "pool": serial(biased, Relu(), AvgPool(2), biased, Relu(), *gap),
        "pool overlapping": serial(Conv(), Relu(), AvgPool((3, 2), 1), Conv(), Relu(), *flat),
        "residual": serial(biased, residual(Relu(), biased, Relu(), Conv()), Relu(), *gap),
        "residual shortcut": serial(
            Conv(),
            residual(Relu(), Conv(3, 2), Relu(), biased, shortcut=Conv(1, 2, bias_std=0.1)),
            Relu(),
            *flat,
        ),
        "pixels": serial(Dense(1.1, 0.4), Relu(), Conv(), Relu(), Dense(), Relu(), *gap),
    }, {
        "signals": serial(biased, Relu(), Conv(4, 2), Relu(), *gap),
        "signals circular": serial(Conv(3, padding="circular"), Relu(), AvgPool(2), Conv(), *flat),
    }


def network(stax, layers, n_channels):
    """Return stax layers for those of a `stand_in`, behind an input of so many channels."""
    factor, built = n_channels**0.5, []  # of the next weights: 1/d at the input, 2 behind a Relu
    for name, options in layers:
        scaled = {"parameterization": "ntk", "b_std": options.get("bias_std", 0.0)}
        scaled["W_std"] = factor * options.get("weight_std", 1.0)
        if name == "Dense":
            built.append(stax.Dense(1, **scaled))
            factor = 1.0
        elif name == "Conv":
            sizes, padding = (options["filter_size"], options["stride"]), options["padding"].upper()
            built.append(stax.Conv(1, *sizes, padding=padding, **scaled, **options["axes"]))
            factor = 1.0
        elif name == "Relu":
            built.append(stax.Relu())
            factor = 2**0.5
        elif name == "AvgPool":
            built.append(stax.AvgPool(options["window_size"], options["stride"], "VALID"))
        elif name == "residual":
            assert factor == 1.0, "the identity carries no factor"
            branches = [network(stax, branch, 1) for branch in options["branches"]]
            built += [stax.FanOut(2), stax.parallel(*branches), stax.FanInSum()]
        else:
            built.append(getattr(stax, name)())
    return stax.serial(*built) if built else stax.Identity()


def stand_in(n_axes):
    """Return layers as names and options, for images with so many spatial axes."""
    axes = {"dimension_numbers": ("NHC", "HIO", "NHC")} if n_axes == 1 else {}

    def sizes(value):
        return (value,) * n_axes if isinstance(value, int) else tuple(value)

    def conv(filter_size=3, stride=1, padding="same", weight_std=1.0, bias_std=0.0):
        options = {"filter_size": sizes(filter_size), "stride": sizes(stride), "padding": padding}
        return "Conv", {**options, "weight_std": weight_std, "bias_std": bias_std, "axes": axes}

    def pool(window_size=2, stride=None):
        window = sizes(window_size)
        return "AvgPool", {"window_size": window, "stride": window if not stride else sizes(stride)}

    def residual(*layers, shortcut=None):
        return "residual", {"branches": [layers, () if shortcut is None else [shortcut]]}

    def dense(weight_std=1.0, bias_std=0.0):
        return "Dense", {"weight_std": weight_std, "bias_std": bias_std}

    plain = {name: lambda name=name: (name, {}) for name in ("Relu", "GlobalAvgPool", "Flatten")}
    return SimpleNamespace(
        serial=lambda *layers: layers,
        residual=residual,
        Conv=conv,
        AvgPool=pool,
        Dense=dense,
        **plain,
    )


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
    for i, inputs in enumerate((pictures(), signals())):
        arrays[("images", "signals")[i]] = inputs
        named = networks(stand_in(inputs.ndim - 2))[i]
        for name, layers in named.items():
            kernel_fn = network(stax, layers, inputs.shape[-1])[-1]
            kernels = kernel_fn(inputs, None, ("ntk", "nngp"))
            for kind in ("ntk", "nngp"):
                arrays[f"{kind}: {name}"] = np.asarray(getattr(kernels, kind), dtype=np.float64)
    versions = f"neural-tangents {neural_tangents.__version__}, jax {jax.__version__}"
    arrays["versions"] = np.array(versions)
    np.savez_compressed(Path(__file__).with_name("neural_tangents.npz"), **arrays)


if __name__ == "__main__":
    main()
