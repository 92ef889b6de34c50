"""A trained model as a SavedModel for TensorFlow Serving."""

from tfrs_npa.serving.module import ServingModule

__all__ = ["ServingModule"]
