"""A `tfds.features.Sequence` that is written column by column."""

from __future__ import annotations

from typing import Any

import tensorflow_datasets as tfds


class Sequence(tfds.features.Sequence):
    """`tfds.features.Sequence` of scalars or of a dict of scalars, encoded a column at a time.

    The stock class encodes item by item, which takes several times as long for the 60 ids or so of
    an impression. The records, what is read from them, and `features.json` are those of the stock
    class, so a dataset that was written with this one is read without it.

    Args:
        feature: A scalar type or feature (`tfds.features.Text()`), or a dict of those.
        doc: Documentation of the feature.

    Example:
        >>> Sequence({"news_id": tfds.features.Text(), "clicked": np.int64}).encode_example(
        ...     {"news_id": ["N1", "N2"], "clicked": [0, 1]}
        ... )
        {'news_id': array(['N1', 'N2'], dtype=object), 'clicked': array([0, 1])}
    """

    def __init__(self, feature: tfds.features.FeatureConnector, *, doc: Any = None):
        super().__init__(feature, doc=doc)
        info = self.feature.get_tensor_info()
        if isinstance(info, dict):
            self._columns = tfds.features.FeaturesDict(
                {name: _column(scalar) for name, scalar in info.items()}
            )
        else:
            self._columns = _column(info)

    def encode_example(self, example: Any) -> Any:
        """Returns an array for each feature.

        Raises:
            ValueError: The lists of an example differ in length.
        """
        columns = self._columns.encode_example(example)
        if isinstance(columns, dict) and len({len(column) for column in columns.values()}) > 1:
            raise ValueError(f"the lists of a sequence differ in length: {example}")
        return columns

    def get_serialized_info(self) -> Any:
        """Describes each feature as one array, whose items need no encoding of their own."""
        return self._columns.get_serialized_info()

    def to_proto(self) -> Any:
        """Describes the stock class, which reads the same records."""
        return tfds.features.Sequence(self.feature, doc=self._doc).to_proto()


def _column(scalar: tfds.features.TensorInfo) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=(None,), dtype=scalar.np_dtype)
