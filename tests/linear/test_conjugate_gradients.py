import numpy as np
import pytest

from ntksketch.linear.conjugate_gradients import ShiftedSystems, conjugate_gradients


def matrix(n=30, condition=1e4, seed=0):
    """Return a positive definite matrix with eigenvalues evenly spread on a logarithmic scale."""
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return (Q * np.geomspace(1, condition, n)) @ Q.T


def problem(n=30, c=3, seed=0, condition=1e4, **options):
    A = matrix(n, condition, seed)
    B = np.random.default_rng(seed + 1).standard_normal((n, c))
    shifts = np.array([0.5, 3.0, 20.0])[np.arange(c) % 3]
    return A, ShiftedSystems(A.__matmul__, B, shifts, **options)


def textbook(A, b, n_iter, inverse=None):
    """Preconditioned conjugate gradients as in any textbook: the iterate after `n_iter` steps."""
    M = np.eye(len(A)) if inverse is None else inverse
    x, r = np.zeros(len(b)), b.copy()
    z = M @ r
    p = z.copy()
    for _ in range(n_iter):
        step = (r @ z) / (p @ A @ p)
        x = x + step * p
        new = r - step * (A @ p)
        new_z = M @ new
        p = new_z + (new @ new_z) / (r @ z) * p
        r, z = new, new_z
    return x


def dense_solution(A, systems):
    columns = zip(systems.shifts, systems.right.T, strict=True)
    return np.stack([np.linalg.solve(A + s * np.eye(len(A)), b) for s, b in columns], 1)


def run(systems, tolerance=1e-12, max_iter=500, **options):
    return conjugate_gradients(systems, tolerance=tolerance, max_iter=max_iter, **options)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("n_iter", [1, 2, 5, 9])
def test_iterates_are_the_textbooks(n_iter, preconditioned):
    A, systems = problem()
    inverse = np.linalg.inv(matrix(condition=100, seed=0)) if preconditioned else None
    if preconditioned:
        systems = ShiftedSystems(
            systems.product, systems.right, systems.shifts, None, lambda R, columns: inverse @ R
        )
    result = run(systems, max_iter=n_iter)
    for j in range(3):
        shifted = A + systems.shifts[j] * np.eye(len(A))
        expected = textbook(shifted, systems.right[:, j], n_iter, inverse)
        np.testing.assert_allclose(result.solution[:, j], expected, rtol=1e-9, atol=1e-12)
    assert not result.converged.any()
    assert not (result.indefinite | result.stagnated).any()
    assert np.all(result.iterations == n_iter)


def test_reaches_the_dense_solution():
    A, systems = problem()
    result = run(systems)
    assert result.converged.all()
    assert np.all(result.residuals <= 1e-12)
    expected = dense_solution(A, systems)
    np.testing.assert_allclose(result.solution, expected, rtol=1e-9, atol=1e-12)
    assert not result.multipliers.any()


def test_constraint_is_the_bordered_system():
    unit = np.random.default_rng(5).standard_normal(30)
    unit /= np.linalg.norm(unit)
    A, systems = problem(constraint=unit)
    result = run(systems)
    for j, shift in enumerate(systems.shifts):
        bordered = np.block(
            [[A + shift * np.eye(30), unit[:, None]], [unit[None], np.zeros((1, 1))]]
        )
        expected = np.linalg.solve(bordered, np.append(systems.right[:, j], 0))
        found = np.append(result.solution[:, j], result.multipliers[j])
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(unit @ result.solution, 0, atol=1e-12)


def test_rounding_along_the_constraint_does_not_grow():
    unit = np.ones(60) / np.sqrt(60)
    A = matrix(60) + 1e6 * np.outer(unit, unit) + np.outer(unit, np.arange(60.0))
    A = (A + A.T) / 2 + 1e4 * np.eye(60)
    B = np.random.default_rng(0).standard_normal((60, 2))
    scales = np.geomspace(1, 1e3, 60)[:, None]
    systems = ShiftedSystems(A.__matmul__, B, np.ones(2), unit, lambda R, columns: scales * R)
    result = run(systems, tolerance=1e-17, max_iter=2000)
    assert result.stagnated.all()  # and not: ran off until the cap
    assert result.residuals.max() < 1e-12
    np.testing.assert_allclose(unit @ result.solution, 0, atol=1e-15)


def test_a_constraint_along_the_right_hand_side_leaves_nothing_to_solve():
    unit = np.ones(30) / np.sqrt(30)
    A = matrix()
    systems = ShiftedSystems(A.__matmul__, 7 * unit[:, None], np.ones(1), unit)
    result = run(systems, tolerance=1e-6)
    assert result.converged.all()
    np.testing.assert_allclose(result.multipliers, 7)
    np.testing.assert_allclose(result.solution, 0, atol=1e-12)


def test_exact_preconditioner_needs_one_iteration():
    A, systems = problem()
    inverses = [np.linalg.inv(A + s * np.eye(30)) for s in systems.shifts]

    def precondition(R, columns):
        return np.stack([inverses[j] @ r for j, r in zip(columns, R.T, strict=True)], 1)

    systems = ShiftedSystems(systems.product, systems.right, systems.shifts, None, precondition)
    assert np.all(run(systems, tolerance=1e-9).iterations == 1)


def test_systems_do_not_know_of_each_other():
    _, systems = problem(condition=100)
    together = run(systems, tolerance=1e-8)
    for j in range(3):
        alone = ShiftedSystems(systems.product, systems.right[:, [j]], systems.shifts[[j]])
        result = run(alone, tolerance=1e-8)
        assert abs(result.iterations[0] - together.iterations[j]) <= 1
        np.testing.assert_allclose(result.solution[:, 0], together.solution[:, j], rtol=1e-5)


def test_only_systems_that_are_not_done_are_multiplied():
    A, systems = problem(condition=100)
    widths = []

    def product(V):
        widths.append(V.shape[1])
        return A @ V

    result = run(ShiftedSystems(product, systems.right, systems.shifts), tolerance=1e-6)
    assert sorted(widths[:-1], reverse=True) == widths[:-1]  # the last one checks the residuals
    assert widths[-1] == 3
    assert sum(widths[:-1]) == result.iterations.sum()
    assert result.iterations[0] > result.iterations[1] > result.iterations[2]


def test_zero_right_hand_sides_are_solved_by_zero():
    A, systems = problem()
    right = systems.right.copy()
    right[:, 1] = 0
    result = run(ShiftedSystems(A.__matmul__, right, systems.shifts))
    assert result.converged.all()
    assert result.iterations[1] == 0
    assert not result.solution[:, 1].any()
    assert result.residuals[1] == 0


def test_cap_on_iterations():
    _, systems = problem()
    result = run(systems, max_iter=4)
    assert np.all(result.iterations == 4)
    assert not (result.converged | result.indefinite | result.stagnated).any()
    expected = systems.right - systems.apply(result.solution, np.arange(3))
    np.testing.assert_allclose(
        result.residuals,
        np.linalg.norm(expected, axis=0) / np.linalg.norm(systems.right, axis=0),
    )


def test_negative_curvature_stops_its_system_only():
    A = np.diag([5.0, 3.0, 1.0, -2.0])
    systems = ShiftedSystems(A.__matmul__, np.ones((4, 2)), np.array([1.0, 4.0]))
    result = run(systems)
    assert result.indefinite.tolist() == [True, False]
    assert result.converged.tolist() == [False, True]
    assert np.isfinite(result.solution).all()
    np.testing.assert_allclose(result.solution[:, 1], 1 / (np.diagonal(A) + 4))


def test_a_preconditioner_that_rounding_made_indefinite_is_no_verdict_on_the_matrix():
    _, systems = problem(condition=100)
    wrong = ShiftedSystems(
        systems.product, systems.right, systems.shifts, None, lambda R, columns: -R
    )
    result = run(wrong)
    assert result.stagnated.all()
    assert not result.indefinite.any()


def test_nan_in_a_product_is_no_convergence():
    systems = ShiftedSystems(lambda V: np.full_like(V, np.nan), np.ones((4, 1)), np.ones(1))
    result = run(systems)
    assert result.indefinite.all()
    assert not result.converged.any()
    assert np.all(result.solution == 0)


def test_rounding_of_the_product_is_noticed():
    A, systems = problem()
    rounded = ShiftedSystems(
        lambda V: (A @ V).astype(np.float32).astype(np.float64), systems.right, systems.shifts
    )
    result = run(rounded)
    assert result.stagnated.all()
    assert not result.converged.any()
    assert 1e-12 < result.residuals.max() < 1e-4
    relaxed = run(rounded, tolerance=1e-3)
    assert relaxed.converged.all()


def test_restarts_gain_what_the_recurrence_lost():
    A, systems = problem()
    calls = []

    def drifting(V):  # the first products are coarse, so that the recurrence goes astray
        calls.append(1)
        coarse = len(calls) <= 5
        return (A.astype(np.float32) if coarse else A) @ V

    result = run(ShiftedSystems(drifting, systems.right, systems.shifts), tolerance=1e-10)
    assert result.converged.all()
    expected = dense_solution(A, systems)
    np.testing.assert_allclose(result.solution, expected, rtol=1e-6, atol=1e-9)
    assert len(calls) > result.iterations.max() + 1  # residuals were computed anew twice


@pytest.mark.parametrize("stop", [1, 7, 20])
def test_going_on_gives_the_same_iterates_bit_for_bit(stop):
    _, systems = problem(constraint=np.ones(30) / np.sqrt(30))
    whole, states = [], []
    expected = run(systems, callback=whole.append)
    run(systems, max_iter=stop, callback=states.append)
    assert states[-1].iteration == stop
    continued = []
    result = run(systems, state=states[-1], callback=continued.append)
    for a, b in zip(whole[stop:], continued, strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(result.solution, expected.solution)
    np.testing.assert_array_equal(result.iterations, expected.iterations)


def test_states_are_values():
    _, systems = problem()
    states = []
    run(systems, max_iter=6, callback=states.append)
    assert [s.iteration for s in states] == [1, 2, 3, 4, 5, 6]
    assert len({s.solution.tobytes() for s in states}) == 6
    finished = run(systems, max_iter=3, state=states[-1])  # beyond its cap: nothing is done
    np.testing.assert_array_equal(finished.solution, states[-1].solution)


def test_a_tighter_tolerance_goes_on_where_a_looser_one_ended():
    A, systems = problem()
    states = []
    run(systems, tolerance=1e-2, callback=states.append)
    result = run(systems, tolerance=1e-11, state=states[-1])
    assert result.converged.all()
    np.testing.assert_allclose(result.solution, dense_solution(A, systems), rtol=1e-7, atol=1e-10)
