"""Training as it is done, step by step: slow oracles for the closed forms."""

import numpy as np
from scipy.integrate import solve_ivp


def flow_by_ode(K, across, y, times, start=None, start_new=None, weight=None):
    """Integrate the flow of the function at training rows and new ones; return the latter."""
    n, k = y.shape
    weight = np.ones(n) if weight is None else weight
    start = np.zeros((n, k)) if start is None else start
    start_new = np.zeros((len(across), k)) if start_new is None else start_new
    joint = np.concatenate([K, across])

    def velocity(_, values):
        residual = values.reshape(-1, k)[:n] - y
        return -(joint @ (weight[:, None] * residual) / weight.sum()).ravel()

    found = solve_ivp(
        velocity,
        (0.0, max(times)),
        np.concatenate([start, start_new]).ravel(),
        method="DOP853",
        t_eval=times,
        rtol=1e-11,
        atol=1e-12,
    )
    return np.stack([v.reshape(-1, k)[n:] for v in found.y.T])


def descent_on_kernel(K, across, y, rate, n_steps, start=0.0, start_new=0.0, weight=None):
    """Run gradient descent on the function's values; return those at new rows."""
    weight = np.ones(len(y)) if weight is None else weight
    values, new = np.zeros_like(y) + start, np.zeros((len(across), y.shape[1])) + start_new
    for _ in range(n_steps):
        gradient = weight[:, None] * (values - y) / weight.sum()
        values, new = values - rate * K @ gradient, new - rate * across @ gradient
    return new


def descent_on_features(Z, y, rate, n_steps, start=0.0, weight=None):
    """Run gradient descent on the coefficients of features; return them and the losses."""
    weight = np.ones(len(y)) if weight is None else weight
    theta, losses = np.zeros((Z.shape[1], y.shape[1])), []
    for _ in range(n_steps + 1):
        residual = Z @ theta + start - y
        losses.append((weight @ (residual**2).sum(1)) / (2 * weight.sum()))
        last = theta
        theta = theta - rate * Z.T @ (weight[:, None] * residual) / weight.sum()
    return last, np.array(losses)
