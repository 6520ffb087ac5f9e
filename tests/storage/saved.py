"""What the tests of models on disk share: small fitted models, comparison, and editing of files."""

import json
import os
from pathlib import Path

import numpy as np
import safetensors.numpy
import scipy.sparse as sp

import ntksketch as ntk
from ntksketch.storage import container

WIDTH = 5
ROWS = np.random.default_rng(0).standard_normal((40, WIDTH))
TARGETS = np.sin(ROWS[:, 0]) + ROWS[:, 1]
CLASSES = np.array(["no", "yes"])[(TARGETS > 0).astype(int)]


def features(method="nystroem", architecture=None, n_components=24, X=ROWS, **parameters):
    parameters.setdefault("random_state", 0)
    return ntk.NTKFeatures(architecture, method, n_components, **parameters).fit(X)


def regressor(
    method="nystroem", architecture=None, n_components=24, X=ROWS, y=TARGETS, **parameters
):
    parameters = {"random_state": 0, "alphas": [0.1, 1.0], **parameters}
    return ntk.NTKRegressor(architecture, method, n_components, **parameters).fit(X, y)


def classifier(
    method="nystroem", architecture=None, n_components=24, X=ROWS, y=CLASSES, **parameters
):
    parameters = {"random_state": 0, "alphas": [0.1, 1.0], **parameters}
    return ntk.NTKClassifier(architecture, method, n_components, **parameters).fit(X, y)


def flow(kernel=None, method=None, n_components=24, X=ROWS, y=TARGETS, **parameters):
    parameters = {"random_state": 0, **parameters}
    return ntk.GradientFlow(kernel, method, n_components, **parameters).fit(X, y)


def exact(architecture=None, alpha=0.1, X=ROWS, y=TARGETS, **parameters):
    parameters = {"random_state": 0, **parameters}
    return ntk.ExactNTKRegressor(architecture, alpha, **parameters).fit(X, y)


MAKERS = {"features": features, "regressor": regressor, "classifier": classifier}


def reload(model, tmp_path, name="model.safetensors"):
    path = tmp_path / name
    ntk.save(model, path)
    return ntk.load(path)


def environment():
    """Return the environment of a process that can import this module."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parent)}


def outputs(model, X=ROWS):
    """Return all that a model makes of rows."""
    results = {}
    for name in ("transform", "predict", "decision_function"):
        if hasattr(model, name):
            results[name] = np.asarray(getattr(model, name)(X))
    if hasattr(model, "features_"):
        results["features"] = model.features_.transform(X)
    if hasattr(model, "training_loss"):
        times = np.array([0, 3, np.inf])
        results["over time"] = model.predict(X, times)
        results["loss"] = model.training_loss(times)
    return results


def assert_same(first, second, X=ROWS):
    assert type(first) is type(second)
    expected, found = outputs(first, X), outputs(second, X)
    assert set(expected) == set(found)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values, err_msg=name)


class File:
    """A saved model taken apart: edit `document`, `arrays` or `metadata`, then `write`."""

    def __init__(self, path):
        self.path = path
        self.text, self.arrays = container.read(path)
        self.document = json.loads(self.text)

    @property
    def model(self):
        return self.document["model"]

    def at(self, *path):
        """Return the tree at a path of field names and positions."""
        node = self.model
        for step in path:
            if isinstance(step, str) and isinstance(node, dict) and "fields" in node:
                node = node["fields"]
            node = node[step]
        return node

    def put(self, value, *path):
        """Replace the tree at a path."""
        node = self.at(*path[:-1])
        if isinstance(node, dict) and "fields" in node:
            node = node["fields"]
        node[path[-1]] = value

    def array(self, *path):
        """Return the name of the array at a path."""
        return self.at(*path)["array"][0]

    def write(self, text=None, **metadata):
        """Write with a checksum that is right, however wrong the rest may be."""
        text = json.dumps(self.document) if text is None else text
        arrays = {name: np.asarray(a, order="C") for name, a in self.arrays.items()}
        sealed = {"format": "1", "version": "0.1.0", "model": text} | metadata
        sealed |= {"sha256": container.checksum(sealed, arrays)}
        self.path.write_bytes(safetensors.numpy.save(arrays, sealed))
        return self.path


def sparse(X):
    return sp.csr_array(np.where(np.abs(X) > 0.5, X, 0))
