import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import ctflow as ct
from ctflow import couplings

SIZES = st.sampled_from([2, 3, 17, 40])


def test_paired_has_the_largest_information():
    pi = couplings.paired(50)
    np.testing.assert_allclose(pi.mutual_information(), np.log(50))
    np.testing.assert_allclose(pi.row_marginal(), 1 / 50)


def test_mean_cosine_is_the_sum_it_says_both_ways(key):
    x, y = ct.sphere.uniform(key, 6, 3), ct.sphere.uniform(jax.random.key(1), 4, 3)
    matrix = np.random.default_rng(0).random((6, 4))
    matrix /= matrix.sum()
    full = couplings.from_matrix(matrix)
    rows, cols = np.nonzero(matrix)
    listed = couplings.from_pairs(rows, cols, matrix[rows, cols], shape=(6, 4))
    exact = (matrix * (np.asarray(x) @ np.asarray(y).T)).sum()
    np.testing.assert_allclose(full.mean_cosine(x, y), exact, rtol=1e-13)
    np.testing.assert_allclose(listed.mean_cosine(x, y), exact, rtol=1e-13)
    information = (matrix * np.log(matrix / np.outer(matrix.sum(1), matrix.sum(0)))).sum()
    np.testing.assert_allclose(full.mutual_information(), information, rtol=1e-12)
    np.testing.assert_allclose(listed.mutual_information(), information, rtol=1e-12)


def test_independent_pairs_carry_no_information():
    p, q = np.array([0.2, 0.8]), np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(couplings.from_matrix(np.outer(p, q)).mutual_information(), 0, atol=1e-15)


@given(st.integers(0, 10**6), SIZES, SIZES, st.sampled_from([0.0, 0.1, 0.5, 2.0]))
def test_blurred_pairs_have_uniform_marginals(seed, n, m, sigma):
    rng = np.random.default_rng(seed)
    pi = couplings.from_latents(
        rng.uniform(-3, 3, n), rng.uniform(-3, 3, m) + sigma, bandwidth=max(sigma, 0.03)
    )
    np.testing.assert_allclose(pi.row_marginal(), 1 / n, rtol=1e-8)
    np.testing.assert_allclose(pi.col_marginal(), 1 / m, rtol=1e-8)
    assert float(pi.weights.min()) >= 0


def test_balanced_matrix_is_a_scaling_of_the_kernel():
    rng = np.random.default_rng(1)
    log_kernel = -rng.random((7, 5)) * 10
    log_ratio = np.log(couplings.balance(log_kernel)) - log_kernel
    rank_one = log_ratio - log_ratio[:1] - log_ratio[:, :1] + log_ratio[0, 0]
    np.testing.assert_allclose(rank_one, 0, atol=1e-9)


def test_misaligned_loses_information_as_sigma_grows(key):
    latents = np.random.default_rng(0).vonmises(0, 6, 100)
    information = [
        float(couplings.misaligned(key, latents, sigma=s).mutual_information()) for s in (0, 0.3, 1)
    ]
    assert information == sorted(information, reverse=True)


def test_misaligned_uses_the_latents_that_displaced_gives(key):
    latents = jnp.linspace(0, 3, 20)
    phi = couplings.displaced(key, latents, sigma=0.4)
    a = couplings.misaligned(key, latents, sigma=0.4)
    b = couplings.from_latents(latents, phi, bandwidth=0.4)
    np.testing.assert_array_equal(a.weights, b.weights)


def test_corrupted_shuffles_the_stated_share_and_keeps_the_marginals(key):
    n = 4000
    pi = couplings.corrupted(key, n, probability=0.3)
    kept = float(jnp.mean((pi.rows == pi.cols).astype(float)))
    assert abs(kept - 0.7) < 4 * np.sqrt(0.3 * 0.7 / n) + 5 / n  # a shuffle leaves about one in place
    np.testing.assert_allclose(pi.col_marginal(), 1 / n)
    np.testing.assert_array_equal(couplings.corrupted(key, 9, probability=0.0).cols, np.arange(9))
    assert sorted(couplings.corrupted(key, 9, probability=1.0).cols.tolist()) == list(range(9))


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (2, 0.9), (6, 0.3), (6, 1.0), (40, 0.05)])
def test_corrupted_pairs_have_uniform_marginals_and_the_expected_share_of_wrong_ones(n, p):
    """Of K > 0 shuffled indices one stays in place on average: the share is p - (1 - (1-p)^n)/n."""
    keys = jax.random.split(jax.random.key(1), 2000)
    cols = np.asarray(jax.vmap(lambda key: couplings.corrupted(key, n, probability=p).cols)(keys))
    np.testing.assert_array_equal(np.sort(cols, axis=1), np.tile(np.arange(n), (2000, 1)))
    wrong = (cols != np.arange(n)).mean(axis=1)
    expected = p - (1 - (1 - p) ** n) / n
    assert abs(wrong.mean() - expected) <= 4 * wrong.std() / np.sqrt(2000)


def test_corrupted_partners_are_permuted_uniformly():
    """All six orders of three shuffled partners are equally likely."""
    keys = jax.random.split(jax.random.key(2), 6000)
    cols = jax.vmap(lambda key: couplings.corrupted(key, 3, probability=1.0).cols)(keys)
    counts = np.unique(np.asarray(cols), axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_corrupted_is_one_program_for_every_key_and_probability():
    traces = []

    @jax.jit
    def share(key, probability):
        traces.append(1)
        pi = couplings.corrupted(key, 12, probability=probability)
        return jnp.mean((pi.rows != pi.cols).astype(float))

    for seed, p in enumerate((0.0, 0.3, 1.0)):
        key = jax.random.key(seed)
        pi = couplings.corrupted(key, 12, probability=p)
        np.testing.assert_allclose(share(key, p), np.mean(np.asarray(pi.rows != pi.cols)))
    assert len(traces) == 1


DRAWS = {
    "corrupted": lambda key, x: couplings.corrupted(key, 30, probability=x),
    "misaligned": lambda key, x: couplings.misaligned(key, np.linspace(-2, 2, 30), sigma=x),
    "displaced": lambda key, x: couplings.displaced(key, np.linspace(-2, 2, 30), sigma=x),
    "from_latents": lambda key, x: couplings.from_latents(np.linspace(0, x, 30), np.zeros(30), bandwidth=x),
    "from_matrix": lambda key, x: couplings.from_matrix(np.diag([x, 1 - x])),
    "from_pairs": lambda key, x: couplings.from_pairs([0, 1], [1, 0], [x, 1 - x], shape=(2, 2)),
    "paired": lambda key, x: couplings.paired(30),
}


@pytest.mark.parametrize("name", DRAWS)
def test_another_draw_compiles_nothing(name, caplog):
    for seed in range(2):
        DRAWS[name](jax.random.key(seed), 0.4)
    keys = [jax.random.key(seed) for seed in range(2, 8)]
    with jax.log_compiles():
        drawn = [DRAWS[name](key, 0.1 + 0.1 * i) for i, key in enumerate(keys)]
    assert len({tuple(leaf.shape for leaf in jax.tree.leaves(one)) for one in drawn}) == 1
    assert not [record for record in caplog.records if "Compiling" in record.getMessage()]


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("call", "name", "function"),
    [
        (lambda x: couplings.misaligned(jax.random.key(0), x, sigma=0.4), "latents", "misaligned"),
        (lambda x: couplings.misaligned(jax.random.key(0), np.zeros(3), sigma=x[0]), "sigma", "misaligned"),
        (
            lambda x: couplings.misaligned(jax.random.key(x[0].astype(int)), [0.0], sigma=0.4),
            "key",
            "misaligned",
        ),
        (lambda x: couplings.from_latents(x, x, bandwidth=0.4), "theta", "from_latents"),
        (lambda x: couplings.from_latents([0.0], [0.0], bandwidth=x[0]), "bandwidth", "from_latents"),
        (lambda x: couplings.displaced(jax.random.key(0), x, sigma=0.4), "latents", "displaced"),
        (lambda x: couplings.from_matrix(jnp.outer(x, x)), "matrix", "from_matrix"),
        (lambda x: couplings.from_pairs([0, 1, 2], [0, 1, 2], x, shape=(3, 3)), "weights", "from_pairs"),
        (lambda x: couplings.balance(jnp.outer(x, x)), "log_kernel", "balance"),
        (lambda x: ct.latents.VonMisesMixture().quantiles(x), "probabilities", "quantiles"),
        (lambda x: ct.latents.VonMisesMixture().density(x), "angles", "density"),
        (lambda x: ct.latents.VonMisesMixture().pair_law(8, sigma=x[0], noise=0.1), "sigma", "pair_law"),
        (lambda x: ct.latents.VonMisesMixture(means=(x[0], x[1])), "means", "VonMisesMixture"),
    ],
)
def test_what_runs_on_the_host_says_so_under_jit(call, name, function):
    with pytest.raises(ValueError, match="traced array") as caught:
        jax.eval_shape(call, jnp.ones(3))
    assert str(caught.value) == (
        f"{name} must be numbers for {function}, got a traced array: {function} computes with NumPy and "
        f"cannot run inside jit, grad or vmap; call it outside and pass its result in as an argument"
    )


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan"), True, "0.5", np.array([0.1, 0.2])])
def test_a_probability_is_one_number(probability, key):
    with pytest.raises(ValueError, match=r"probability must lie in \[0, 1\], got "):
        couplings.corrupted(key, 5, probability=probability)
    for good in (np.float32(0.5), jnp.asarray(0.5), 1):
        assert couplings.corrupted(key, 5, probability=good).shape == (5, 5)


def test_marginals_that_are_off_by_a_thousandth_are_refused():
    n = 20
    matrix = np.full((n, n), 1 / n**2)
    matrix[0] += 1e-3 / n
    matrix /= matrix.sum()
    x = ct.sphere.uniform(jax.random.key(0), n, 3)
    with pytest.raises(ValueError, match="marginal must equal the weights of cloud x"):
        ct.energies.symmetric(couplings.from_matrix(matrix), temperature=0.3)(ct.Pair(x, x))


def test_latents_are_near_across_the_cut_of_the_angle():
    pi = couplings.from_latents([np.pi - 0.05, 0.0], [-np.pi + 0.05, 0.0], bandwidth=0.3).weights
    assert np.asarray(pi).reshape(2, 2)[0, 0] > 0.4


def test_information_of_a_matrix_with_zeros_is_finite():
    n = 7
    assert float(couplings.from_matrix(np.eye(n) / n).mutual_information()) == pytest.approx(np.log(n))


def test_balance_reaches_marginals_that_are_not_uniform():
    """Rows and columns have the sums asked for, and the matrix is a kernel scaled by rows and columns."""
    rng = np.random.default_rng(0)
    log_kernel = -6 * rng.random((7, 5)) ** 2
    p, q = rng.dirichlet(np.ones(7)), rng.dirichlet(np.ones(5))
    pi = couplings.balance(log_kernel, row_marginal=p, col_marginal=q)
    np.testing.assert_allclose(pi.sum(axis=1), p, rtol=1e-9)
    np.testing.assert_allclose(pi.sum(axis=0), q, rtol=1e-9)
    scaling = np.log(pi) - log_kernel
    np.testing.assert_allclose(
        scaling - scaling[:, :1], (scaling - scaling[:, :1])[:1].repeat(7, 0), atol=1e-10
    )
    for wrong in (p[:-1], 2 * p, np.eye(7)[0]):
        with pytest.raises(ValueError, match="row_marginal must be 7 numbers > 0 that sum to 1"):
            couplings.balance(log_kernel, row_marginal=wrong)


def test_pairs_of_fewer_rows_than_columns_are_told_apart():
    rows, cols = np.nonzero(np.ones((2, 5)))
    pi = couplings.from_pairs(rows, cols, shape=(2, 5))
    np.testing.assert_allclose(pi.row_marginal(), 1 / 2)
    np.testing.assert_allclose(pi.col_marginal(), 1 / 5)
    with pytest.raises(ValueError, match="must not list a pair twice"):
        couplings.from_pairs([*rows, 1], [*cols, 3], shape=(2, 5))


def test_the_weights_of_a_coupling_can_be_replaced():
    """Of listed pairs and of all pairs; everything else stays."""
    weights = np.random.default_rng(0).dirichlet(np.ones(6))
    for pi in (
        couplings.from_pairs([0, 0, 1, 1, 2, 2], [0, 1, 1, 0, 0, 1], shape=(3, 2)),
        couplings.from_matrix(np.full((3, 2), 1 / 6)),
    ):
        new = dataclasses.replace(pi, weights=jnp.asarray(weights))
        np.testing.assert_array_equal(new.weights, weights)
        np.testing.assert_array_equal([new.rows, new.cols], [pi.rows, pi.cols])
        assert (new.shape, new.complete) == (pi.shape, pi.complete)
