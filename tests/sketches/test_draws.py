import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sketch_statistics import N_ERRORS, SEEDS

from ntksketch.sketches.draws import (
    generator,
    random_permutations,
    random_signs,
    sample_coordinates,
)


def assert_frequencies(counts, probabilities):
    """Counts are within some standard errors of what a multinomial has on average."""
    n, p = counts.sum(), np.asarray(probabilities)
    assert np.all(np.abs(counts - n * p) <= N_ERRORS * np.sqrt(n * p * (1 - p)))


def test_a_key_is_a_stream_and_split_keys_are_others():
    first, second = jax.random.split(jax.random.key(0))
    a, again, b = (generator(key).standard_normal(2000) for key in (first, first, second))
    np.testing.assert_array_equal(a, again)
    assert abs(np.corrcoef(a, b)[0, 1]) < N_ERRORS / np.sqrt(2000)


def test_the_precision_in_force_does_not_matter():
    expected = generator(jax.random.key(3)).random(5)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(generator(jax.random.key(3)).random(5), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.float64])
def test_signs_are_fair_and_do_not_follow_one_another(seed, dtype):
    signs = random_signs(jax.random.key(seed), 20_000, dtype)
    assert signs.dtype == dtype
    assert set(np.unique(signs)) == {-1, 1}
    pairs = 2 * (signs[::2] > 0) + (signs[1::2] > 0)
    assert_frequencies(np.bincount(pairs), [0.25] * 4)


@pytest.mark.parametrize("seed", SEEDS)
def test_permutations_are_uniform_and_rounds_independent(seed):
    drawn = random_permutations(jax.random.key(seed), 6000, 3)
    ranks = {p: rank for rank, p in enumerate(itertools.permutations(range(3)))}
    found = np.array([ranks[tuple(p)] for p in drawn.tolist()])
    assert_frequencies(np.bincount(found, minlength=6), [1 / 6] * 6)
    followed = 6 * found[::2] + found[1::2]
    assert_frequencies(np.bincount(followed, minlength=36), [1 / 36] * 36)


@given(size=st.integers(1, 40), n_draws=st.integers(1, 100), seed=st.integers(0, 1000))
def test_balanced_coordinates_take_all_before_any_comes_again(size, n_draws, seed):
    drawn = sample_coordinates(jax.random.key(seed), size, n_draws, balanced=True)
    assert drawn.shape == (n_draws,)
    assert drawn.dtype == np.int32
    for start in range(0, n_draws, size):
        one_round = drawn[start : start + size]
        assert len(set(one_round.tolist())) == len(one_round)
        assert set(one_round.tolist()) <= set(range(size))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("balanced", [True, False])
def test_each_coordinate_is_uniform(balanced, seed):
    keys = jax.random.split(jax.random.key(seed), 2000)
    drawn = np.array([sample_coordinates(key, 4, 6, balanced) for key in keys])
    for column in drawn.T:
        assert_frequencies(np.bincount(column, minlength=4), [0.25] * 4)
    # two of one round never agree if balanced, as often as not otherwise; those of two rounds do
    for i, j, agree in (
        (0, 1, 0 if balanced else 0.25),
        (4, 5, 0 if balanced else 0.25),
        (0, 4, 0.25),
    ):
        together = (drawn[:, i] == drawn[:, j]).sum()
        assert_frequencies(np.array([together, 2000 - together]), [agree, 1 - agree])
