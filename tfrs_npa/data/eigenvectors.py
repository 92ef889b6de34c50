"""The largest eigenvalues of a sparse symmetric matrix, and their vectors."""

from __future__ import annotations

import numpy as np
from scipy import sparse

_BLOCK = 16
# Below that, all eigenvalues of the dense matrix take less than a second.
_DENSE = 1000
_PASSES = 4


def largest_eigenvectors(
    matrix: sparse.sparray, count: int, tolerance: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the largest eigenvalues of a symmetric matrix, and their vectors.

    Block Lanczos with full orthogonalisation and without restarts (Golub & Underwood 1977), in
    float32. Where many eigenvalues are wanted of a matrix this sparse, nearly all of the work is
    keeping vectors orthogonal: in blocks, that is products of matrices. The start is the same at
    each call, so the result is too. Of an eigenvalue that occurs more often than a block has
    vectors, 16, some may be missed.

    Args:
        matrix: `[n, n]`, symmetric.
        count: Number of eigenvalues, at most n.
        tolerance: Largest norm of `A v - lambda v`, as a share of lambda. An eigenvalue is then
            about its square off; vectors of eigenvalues that are nearer to each other than this may
            be mixed.

    Returns:
        Eigenvalues `[count]`, ascending, and their vectors of unit length, `[n, count]`.
    """
    size = matrix.shape[0]
    if size <= max(_DENSE, 2 * count):
        values, vectors = np.linalg.eigh(matrix.toarray())
        return values[-count:], vectors[:, -count:]
    matrix = matrix.tocsr().astype(np.float32)
    generator = np.random.default_rng(0)
    block = np.linalg.qr(generator.standard_normal((size, _BLOCK), np.float32))[0]
    basis, width, next_check = np.empty((0, size), np.float32), 0, 4 * count
    # Of the matrix in the basis, the blocks on the diagonal and below.
    diagonal: list[np.ndarray] = []
    below: list[np.ndarray] = []
    while True:
        basis.resize((width + _BLOCK, size), refcheck=False)
        basis[width:] = block.T
        width += _BLOCK
        image = matrix @ block
        if below:
            image -= basis[width - 2 * _BLOCK : width - _BLOCK].T @ below[-1].T
        diagonal.append(block.T @ image)
        image -= block @ diagonal[-1]
        block, factor = np.linalg.qr(image)
        for _ in range(_PASSES):
            block -= basis.T @ (basis @ block)
            block, correction = np.linalg.qr(block)
            factor = correction @ factor
            # Else they were mostly rounding, as where the basis holds all that the start leads to.
            if np.abs(correction.diagonal()).min() > 0.5:
                break
        below.append(factor)
        is_last = width + 2 * _BLOCK > size
        if width >= next_check or is_last:
            values, weights = np.linalg.eigh(_projected(diagonal, below))
            values, weights = values[-count:], weights[:, -count:]
            residuals = np.linalg.norm(below[-1] @ weights[-_BLOCK:], axis=0)
            if is_last or np.all(residuals <= tolerance * np.abs(values)):
                return values, basis.T @ weights.astype(np.float32)
            next_check = width * 5 // 4


def _projected(diagonal: list[np.ndarray], below: list[np.ndarray]) -> np.ndarray:
    """Returns the lower triangle of the matrix in the basis, `float64 [width, width]`."""
    result = np.zeros((len(diagonal) * _BLOCK,) * 2)
    for index, (own, next_one) in enumerate(zip(diagonal, below, strict=True)):
        first, end = index * _BLOCK, (index + 1) * _BLOCK
        result[first:end, first:end] = own
        result[end : end + _BLOCK, first:end] = next_one[: len(result) - end]
    return result
