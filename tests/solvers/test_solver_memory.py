import pytest
from peaks import measured

pytestmark = pytest.mark.slow

MEASURE = """
n, budget = json.loads(sys.argv[1])
X = np.random.default_rng(0).standard_normal((n, 8))
Y = X[:, :2] ** 2

def solve(rows):
    return ntk.solve_kernel_ridge(
        ntk.mlp(1), X[:rows], Y[:rows], 1.0, max_iter=2, rank=20, working_memory=budget,
        random_state=0,
    )

small = solve(1000)
small.predict(X[:1000], working_memory=budget)
peaks = {"solve": peak(lambda: solve(n))}
solution = solve(n)
peaks["predict"] = peak(lambda: solution.predict(X, working_memory=budget))
print(json.dumps(peaks))
"""

ROWS, BUDGET = 5000, 8  # rows, MiB
ALLOWANCE = 12.0  # for the preconditioner, the columns of its pivots, and ten solutions


def test_peak_is_far_below_the_kernel_matrix():
    peaks = measured(MEASURE, [ROWS, BUDGET])
    matrix = ROWS**2 * 8 / 2**20
    assert peaks["solve"] < BUDGET + ALLOWANCE < matrix / 8
    assert peaks["predict"] < BUDGET + ALLOWANCE
