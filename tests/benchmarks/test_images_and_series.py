"""CIFAR-10, time series and growth with the pixels: logic, tables and plots."""

import jax
import numpy as np
import pytest
from recorded import saved, with_images_and_series
from scipy.signal import correlate2d

import ntksketch as ntk
from benchmarks import (
    cifar10,
    cifar10_drawing,
    convergence,
    finite_cnn,
    images,
    kept,
    pixels,
    runner,
    ucr,
    ucr_drawing,
)
from benchmarks.datasets import VARIABLE, load, load_series
from benchmarks.errors import summary
from benchmarks.rendering import render
from benchmarks.results import read
from benchmarks.timing import Stages
from benchmarks.warping import warped_distances


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return with_images_and_series(tmp_path)


@pytest.mark.parametrize(
    ("module", "minutes"),
    [(cifar10, 185), (ucr, 70), (pixels, 15), (convergence, 40)],
    ids=lambda v: str(v)[:20],
)
def test_full_runs_fit_their_time(module, minutes):
    settings = module.settings(False)
    configurations = module.configurations(settings)
    assert len({c["key"] for c in configurations}) == len(configurations)
    usual = [c for c in configurations if not c["key"].startswith(runner.LONG)]
    seconds = [module.estimate(c, settings) for c in usual]
    assert min(seconds) > 0
    assert sum(seconds) < 60 * minutes
    short = module.settings(True)
    assert all(0 < module.estimate(c, short) < 300 for c in module.configurations(short))


# ---------------------------------------------------------------------------------------------
# Rows that take hours
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "asked"),
    [
        ("", ["a", "b large"]),
        ("large", ["b large"]),
        ("long", ["long a", "long b"]),
        ("long b", ["long b"]),
    ],
)
def test_rows_of_hours_are_measured_only_when_asked_for(tmp_path, monkeypatch, only, asked):
    keys, done = ["a", "b large", "long a", "long b"], []

    def measure_apart(name, configuration, settings):
        done.append(configuration["key"])
        return {}

    monkeypatch.setattr(pixels, "configurations", lambda settings: [{"key": k} for k in keys])
    monkeypatch.setattr(pixels, "estimate", lambda configuration, settings: 1.0)
    monkeypatch.setattr(runner, "measure_apart", measure_apart)
    path = tmp_path / "pixels.json"
    assert runner.run("pixels", path, short=True, only=only) == 0
    assert done == asked
    assert read(path)["complete"] == (only == "")


class Stopped(Exception):
    pass


def test_features_on_disk_go_on_where_they_were_stopped(folder, monkeypatch):
    monkeypatch.setattr(kept, "_MEMORY", 0.5)  # MiB: several blocks
    data, made = images.cifar10(40, 20), []

    def prepare(stages):
        made.append("images")
        return data, {"regularization": 1.0}

    def draw(data):
        made.append("features")
        return ntk.NTKFeatures(ntk.mlp(1), "nystroem", 16, random_state=0).fit(data.X_train)

    state = kept.folder_of("long some", {"n_test": 20})
    assert state != kept.folder_of("long some", {"n_test": 10})
    assert state.parent == folder
    ticking, ticks = kept.LastingStages.ticking, []

    def stopping(self, name):
        tick = ticking(self, name)

        def stop(*done):
            tick(*done)
            ticks.append(done)
            if len(ticks) == 2:
                raise Stopped

        return stop

    monkeypatch.setattr(kept.LastingStages, "ticking", stopping)
    with pytest.raises(Stopped):
        kept.measure(state, prepare, draw)
    before = kept.LastingStages(state / "seconds.json")
    assert 0 < ticks[-1][0] < 40
    outcome = kept.measure(state, prepare, draw)
    assert made == ["images", "features"]
    assert outcome["seconds"]["featurise"] > before["featurise"] > 0
    assert not state.exists()
    fresh = kept.measure(state, prepare, draw)
    assert {**outcome, "seconds": 0, "peak_memory": 0} == {**fresh, "seconds": 0, "peak_memory": 0}
    stages = {"draw", "featurise", "featurise test", "accumulate", "factorise", "predict"}
    assert stages <= set(outcome["seconds"])
    assert outcome["score"] > 0.9


# ---------------------------------------------------------------------------------------------
# CIFAR-10
# ---------------------------------------------------------------------------------------------


def test_images_of_other_sizes(folder):
    X = load("cifar10").X_train
    assert X.shape == (40, 3072)
    assert 0.5 < X.max() <= 1
    pixels_of = X.reshape(40, 32, 32, 3)
    small = images.resized(X, 8).reshape(40, 8, 8, 3)
    np.testing.assert_allclose(small[5, 2, 3], pixels_of[5, 8:12, 12:16].mean((0, 1)), rtol=1e-5)
    large = images.resized(X, 64).reshape(40, 64, 64, 3)
    np.testing.assert_array_equal(large[5, 10:12, 20:22], np.tile(pixels_of[5, 5, 10], (2, 2, 1)))
    np.testing.assert_array_equal(images.resized(X, 32), X)
    for side in (0, 7, 48):
        with pytest.raises(ValueError, match=f"side must divide 32.*{side}"):
            images.resized(X, side)
    assert images.side_of(images.cifar10(5, 5, 8)) == 8


def test_whitening_is_fitted_to_training_images(folder):
    data = images.cifar10(30, 10, 8)
    white = images.whitened(data, 0.1)
    np.testing.assert_allclose(white.X_train.mean(axis=0), 0, atol=1e-4)
    assert white.X_test.shape == (10, 192)
    again = images.whitened(images.cifar10(30, 2, 8), 0.1)  # test images have no say
    np.testing.assert_array_equal(again.X_train, white.X_train)
    plain = images.standardised(data).X_train.reshape(-1, 3)
    np.testing.assert_allclose(plain.std(axis=0), 1, rtol=1e-4)


@pytest.mark.slow
def test_the_finite_network_has_the_layers_of_the_infinite_one():
    parameters = finite_cnn.initial(jax.random.key(0), 5, 4)
    X = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    layers = [type(layer).__name__ for layer in ntk.cnn(3, pooling=2)]
    state = X
    weights = iter([(np.asarray(w), np.asarray(b) + 0.1) for w, b in parameters])
    for name in layers:
        state = LAYERS[name](state, weights)
    shifted = [(w, b + 0.1) for w, b in parameters]
    np.testing.assert_allclose(jax.jit(finite_cnn.apply)(shifted, X), state, rtol=1e-3, atol=1e-5)


def convolution(X, weights):
    filters, bias = next(weights)
    out = np.zeros((*X.shape[:3], filters.shape[3]))
    for n, image in enumerate(X):
        for a in range(filters.shape[2]):
            for b in range(filters.shape[3]):
                out[n, :, :, b] += correlate2d(image[:, :, a], filters[:, :, a, b], "same")
    return out + bias


def pool(X, weights):
    return (X[:, ::2, ::2] + X[:, 1::2, ::2] + X[:, ::2, 1::2] + X[:, 1::2, 1::2]) / 4


def readout(X, weights):
    matrix, bias = next(weights)
    return X @ matrix + bias


LAYERS = {
    "Conv": convolution,
    "Relu": lambda X, weights: np.maximum(X, 0),
    "AvgPool": pool,
    "GlobalAvgPool": lambda X, weights: X.mean((1, 2)),
    "Dense": readout,
}


@pytest.mark.slow
def test_the_finite_network_learns(folder):
    data = images.cifar10(40, 20, 8)
    settings = {"widths": [4], "rates": [0.02, 0.05], "first_epochs": 2, "epochs": 6, "batch": 8}
    outcome = finite_cnn.measure(data, 0.5, settings)
    assert outcome["score"] > 0.9
    assert len(outcome["tried"]) == 4
    best = max(outcome["tried"], key=lambda tried: tried["score"])
    assert {name: best[name] for name in ("preprocessing", "width", "rate")}.items() <= (
        outcome["chosen"].items()
    )
    assert outcome["chosen"]["epochs"] <= 6


@pytest.fixture
def tiny(monkeypatch):
    """Let the benchmark take images of 8 x 8 pixels and few landmarks."""
    whole = images.cifar10
    monkeypatch.setattr(images, "cifar10", lambda n, n_test, side=8: whole(n, n_test, side))
    sizes, hidden = {30: [8], 40: [8]}, {"hidden_components": 8}
    method = cifar10.ImageMethod("few", "pooled", "LayerwiseNystroem", hidden, sizes, {30: [8]})
    monkeypatch.setattr(cifar10, "METHODS", {"few": method})
    sizes = {"long_from": 40, "n_test": 20, "choice_rows": 30, "choice_hidden": [8, 8]}
    sizes |= {"exact_rows": 20, "exact_test": 10, "exact_components": [8, 16]}
    return cifar10.settings(True) | {"sizes": None, "flips": None} | sizes


def test_another_method_leaves_what_is_measured(monkeypatch):
    before = cifar10.settings(False), cifar10.configurations(cifar10.settings(False))
    row = ("new", "plain", "RandomFeatures", {}, {5000: [2048]})
    monkeypatch.setitem(cifar10.METHODS, "new", cifar10.ImageMethod(*row))
    settings = cifar10.settings(False)
    assert settings == before[0]
    keys = {c["key"] for c in cifar10.configurations(settings)} - {c["key"] for c in before[1]}
    assert keys == {"small new", "new 5000 2048"}
    assert all(cifar10.estimate(c, settings) > 0 for c in cifar10.configurations(settings))


@pytest.mark.slow
def test_cifar10(folder, tiny):
    configurations = cifar10.configurations(tiny)
    keys = [c["key"] for c in configurations]
    assert keys[:4] == ["exact pooled", "small few", "finite 60", "pace"]
    assert keys[4:] == ["few 30 8", "few 30 8 flips", "long few 40 8"]
    chosen = [c for c in configurations if c["what"] != "finite"]
    data = saved(folder, cifar10, tiny, [(c, cifar10.measure(c, tiny)) for c in chosen])
    exact, small, pace, *features = data["measurements"]
    assert pace["median"].keys() == pace["ratio"].keys() == {"few 8"}
    assert pace["ratio"]["few 8"] == 1
    assert [size["n_components"] for size in small["sizes"]] == [8, 16]
    assert 0 < small["sizes"][0]["error"]["mean"] < 0.5
    assert all(m["score"] > 0.9 for m in (exact, *features))
    table = cifar10.table(data)
    assert "| few | 30 | 8 | standardised, ZCA, flips | " in table
    assert "| few | 40 | 8 | standardised, ZCA | " in table
    assert render(folder / "cifar10.json")[2].stat().st_size > 0


def test_features_of_mirror_images_are_equal(folder, tiny):
    data = images.whitened(images.cifar10(20, 5), 0.1)
    features = cifar10.draw("few", 8, data, flips=True)
    mirrored = data.X_test.reshape(5, 8, 8, 3)[:, :, ::-1].reshape(5, -1)
    Z = features.transform(data.X_test)
    np.testing.assert_allclose(Z, features.transform(mirrored), rtol=1e-4, atol=1e-5)


def test_the_table_of_cifar10_from_made_up_results(tmp_path):
    stages = {"choose": 1.0, "draw": 2.0, "featurise": 3.0, "featurise test": 6.0}
    stages |= {"accumulate": 0.5, "factorise": 0.25, "predict": 0.1}
    about = {"what": "features", "seconds": stages, "peak_memory": 2**20, "regularization": 0.1}
    large = {**about, "key": "long large", "method": "large", "n_train": 50_000}
    small = {**about, "key": "small", "method": "small", "n_train": 5000}
    network = {"width": 32, "rate": 0.05, "epochs": 7, "preprocessing": "whitened", "score": 0.5}
    finite = {"key": "finite", "what": "finite", "n_train": 5000, "score": 0.6, "chosen": network}
    finite |= {"seconds": {"choose": 9.0, "train": 4.0}, "peak_memory": None}
    compared = {"n_components": 8, "score": summary([0.3, 0.4]), "error": summary([0.1, 0.1])}
    compared |= {"seconds": {"draw": 1.0, "featurise": 1.0}}
    few = {"key": "few", "what": "small", "method": "small", "network": "pooled"}
    exact = {"key": "exact", "what": "exact", "network": "pooled", "score": 0.4}
    keys = "small 1024", "large 8192", "cntksketch 1024"
    pace = {"key": "pace", "what": "pace", "n_images": 8, "unit": keys[2]}
    pace |= {"median": dict(zip(keys, (0.01, 0.05, 0.5), strict=True))}
    pace |= {"ratio": dict(zip(keys, (50.0, 10.0, 1.0), strict=True))}
    published = {**about, "key": "long c", "method": "cntksketch", "n_train": 5000}
    outcomes = [
        (published, {"n_components": 1024, "flips": False, "score": 0.5}),
        ({**small, "key": "again"}, {"n_components": 1024, "flips": False, "score": 0.57}),
        (large, {"n_components": 8192, "flips": False, "score": 0.7}),
        (small, {"n_components": 1024, "flips": True, "score": 0.55}),
        (finite, {}),
        (exact, {"seconds": {"kernel": 7.0}}),
        (few, {"sizes": [compared]}),
        (pace, {}),
    ]
    data = saved(tmp_path, cifar10, cifar10.settings(False), outcomes)
    table = cifar10_drawing.table(data, {"small": "few", "large": "many"})
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    starts = [row.split(" | ")[0] for row in rows]
    assert starts[2:6] == ["| few", "| few", "| cntksketch", "| trained network, width 32"]
    assert "| few | 1,024 | 10 | 50 | +7.00 (5,000) |" in table
    assert "| many | 8,192 | 50 | 10 | " in table
    assert "| cntksketch | 1,024 | 500 | 1 | +0.00 (5,000) |" in table
    ours = "| few | 5,000 | 1,024 | standardised, ZCA, flips | 55.00% | 1 | 2 | 3 | 6 | 0.75 | 1 |"
    assert ours in rows
    assert "| few | pooled | 8 | 0.1 ± 0 | 35.00% ± 7.07% | -5.00 | 2 |" in table
    assert render(tmp_path / "cifar10.json")[2].stat().st_size > 0


# ---------------------------------------------------------------------------------------------
# Time series
# ---------------------------------------------------------------------------------------------


def alignment(x, y, window):
    """Return the least sum of squares over alignments, entry by entry."""
    best = np.full((len(x) + 1, len(y) + 1), np.inf)
    best[0, 0] = 0
    for i in range(len(x)):
        for j in range(len(y)):
            if abs(i - j) <= window:
                before = min(best[i, j], best[i, j + 1], best[i + 1, j])
                best[i + 1, j + 1] = (x[i] - y[j]) ** 2 + before
    return best[-1, -1]


@pytest.mark.parametrize("steps", [1, 2, 7, 12])
@pytest.mark.parametrize("window", [1, 2, 5, 20])
def test_warped_distances(monkeypatch, steps, window):
    monkeypatch.setattr("benchmarks.warping._ENTRIES", 60)  # parts of the pairs
    rng = np.random.default_rng(steps)
    X, Y = rng.standard_normal((4, steps)), rng.standard_normal((5, steps))
    expected = [[alignment(x, y, window) for y in Y] for x in X]
    np.testing.assert_allclose(warped_distances(X, Y, window), expected, rtol=1e-12)


def test_warped_distances_refuse():
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        warped_distances(np.ones((1, 3)), np.ones((1, 3)), 0)
    with pytest.raises(ValueError, match="one length, got 3 and 4"):
        warped_distances(np.ones((1, 3)), np.ones((1, 4)), 1)


def test_series(folder):
    data = load_series("CBF")
    assert data.X_train.shape == (20, 12)
    np.testing.assert_allclose(data.X_test.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(data.X_test.std(axis=1), 1, rtol=1e-5)
    with pytest.raises(RuntimeError, match=r"ucr/Beef\.npz is not in"):
        load_series("Beef")


def test_divisions_have_all_classes_and_training_series_alone():
    y = np.array([0] * 9 + [1] * 3)
    divided = ucr.divisions(y, {"parts": 5, "repeats": 2})
    assert len(divided) == 6  # the least class has three
    for fit, score in divided:
        assert set(y[score]) == set(y[fit]) == {0, 1}
        np.testing.assert_array_equal(np.sort(np.concatenate([fit, score])), np.arange(12))


def test_mean_states_are_for_short_series():
    settings = ucr.settings(False)
    most = settings["mean_steps"]
    short, long = ucr.networks(most, settings), ucr.networks(most + 1, settings)
    assert {network["readout"] for network in long} == {"last"}
    assert [network for network in short if network not in long] == [
        {"depth": 1, "bias_std": 0.0, "readout": "mean", "weight_std": weight_std}
        for weight_std in settings["weight_stds"]
    ]


def test_choices_on_series(folder):
    settings = ucr.settings(True)
    data = load_series("CBF")
    divided = ucr.divisions(data.y_train, settings)
    candidates = [{"gamma": 1e6}, {"gamma": 0.1}]  # the first is nothing but a diagonal
    accuracy, chosen = ucr.support_vectors(data, divided, candidates, ucr.rbf, [1.0])
    assert accuracy > 0.9
    assert (chosen["gamma"], chosen["C"]) == (0.1, 1.0)
    assert chosen["held_out"] > 0.9
    for candidates, distances in ucr.neighbours(data, settings).values():
        accuracy, chosen = ucr.nearest(data, divided, candidates, distances)
        assert min(accuracy, chosen["held_out"]) > 0.9
    noise = [{"sign": -1}, {"sign": 1}]  # the furthest, and the nearest
    accuracy, chosen = ucr.nearest(
        data, divided, noise, lambda p, X, Y: p["sign"] * warped_distances(X, Y, 1)
    )
    assert chosen["sign"] == 1


@pytest.mark.slow
def test_ucr(folder):
    settings = ucr.settings(True) | {"data": ["CBF"], "mean_steps": 0}
    settings["features"] = {"RNTK features, m = n": 1.0}
    [configuration] = ucr.configurations(settings)
    data = saved(folder, ucr, settings, [(configuration, ucr.measure(configuration, settings))])
    accuracy = data["measurements"][0]["accuracy"]
    assert tuple(accuracy) == ucr_drawing.methods(data)
    assert all(value > 0.9 for value in accuracy.values())
    assert data["measurements"][0]["components"] == {"RNTK features, m = n": 20}
    assert "| CBF | 20 | 40 | 12 | 2 |" in ucr.table(data)
    assert render(folder / "ucr.json")[2].stat().st_size > 0


@pytest.mark.slow
def test_all_landmarks_give_the_exact_recurrent_kernel():
    X = np.random.default_rng(0).standard_normal((9, 6))
    network = {"depth": 1, "weight_std": 0.9, "bias_std": 0.1, "readout": "last"}
    expected = ucr.exact(ucr.recurrent)(network, X[:6], X)
    assert expected.shape == (9, 6)
    found = ucr.by_features("nystroem", 1.0)(network, X[:6], X)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_table_of_series_from_made_up_results(tmp_path):
    settings = ucr.settings(False) | {"features": {"RNTK features": 0.5}}
    names = ucr_drawing.methods({"settings": settings})
    outcomes = []
    for data, points in (("CBF", 4), ("Beef", 2)):
        accuracy = dict.fromkeys(names, 0.5) | {"RNTK": 0.7, "RNTK features": 0.7 - points / 100}
        about = {"n_train": 3, "n_test": 4, "n_steps": 5, "n_classes": 2, "seconds": {"RNTK": 1.0}}
        outcomes.append(({"key": data, "data": data}, {"accuracy": accuracy, **about}))
    table = ucr.table(saved(tmp_path, ucr, settings, outcomes))
    assert "| RNTK | 70.00% | 1.00 |  |" in table
    assert "| RNTK features | 67.00% | 2.00 | -3.00 ± 1.00 |" in table
    assert "RNTK features: -3.00 points from the exact kernel on average, not within" in table
    assert "| RNTK and NTK | +20.00 ± 0.00 | 2 | 0 | 0 |" in table
    assert "| CBF | 3 | 4 | 5 | 2 | **0.7000** | 0.6600 |" in table
    empty = ucr.table(saved(tmp_path, ucr, settings, []))
    assert "RNTK better" not in empty


def test_stages_last(tmp_path):
    path = tmp_path / "seconds.json"
    stages = kept.LastingStages(path)
    tick = stages.ticking("featurise")
    tick(1, 2)
    first = kept.LastingStages(path)["featurise"]
    tick(2, 2)
    assert kept.LastingStages(path)["featurise"] > first > 0
    assert isinstance(stages, Stages)
