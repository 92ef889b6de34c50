import numpy as np
import pytest
from scipy import sparse

from tfrs_npa.data.eigenvectors import largest_eigenvectors


def symmetric(size, density, seed=0):
    """A random matrix whose eigenvalues fall off as those of words do."""
    generator = np.random.default_rng(seed)
    half = sparse.random_array((size, size), density=density, rng=generator)
    scale = sparse.diags_array(np.arange(1, size + 1) ** -0.5)
    return (scale @ (half + half.T) @ scale).tocsr()


@pytest.mark.parametrize("size", [30, 1010], ids=["dense", "sparse"])
@pytest.mark.parametrize("count", [1, 20])
def test_pairs_are_those_of_all_eigenvalues(size, count):
    matrix = symmetric(size, density=0.02)
    values, vectors = largest_eigenvectors(matrix, count)
    expected = np.linalg.eigvalsh(matrix.toarray())[-count:]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=2e-3 * values.max())
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), atol=1e-5)


def test_equal_eigenvalues():
    piece = symmetric(110, density=0.1).toarray()
    matrix = sparse.kron(sparse.eye_array(10), piece, format="csr")
    values, vectors = largest_eigenvectors(matrix, 30)
    expected = np.linalg.eigvalsh(piece)[-3:]
    np.testing.assert_allclose(values, np.repeat(expected, 10), rtol=1e-4)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-3 * values.max())
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(30), atol=1e-5)


def test_a_matrix_of_few_dimensions():
    generator = np.random.default_rng(0)
    factor = sparse.random_array((1500, 5), density=0.1, rng=generator).tocsr()
    matrix = factor @ factor.T
    values, vectors = largest_eigenvectors(matrix, 12)
    expected = np.linalg.eigvalsh((factor.T @ factor).toarray())
    np.testing.assert_allclose(values, np.append(np.zeros(7), expected), atol=1e-4)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(12), atol=1e-5)


def test_each_call_gives_the_same():
    matrix = symmetric(1010, density=0.02)
    for one, other in zip(*(largest_eigenvectors(matrix, 8) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one, other)
