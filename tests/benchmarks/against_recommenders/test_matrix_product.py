import pytest


def test_operations_are_counted(benchmark):
    product = benchmark("against_recommenders.matrix_product").MatrixProduct(size=100)
    seconds, giga = product.run(3)
    assert seconds > 0 and giga == pytest.approx(3 * 2 * 100**3 / 1e9)
