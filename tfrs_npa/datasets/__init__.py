"""Datasets for TensorFlow Datasets."""
