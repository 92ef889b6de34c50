"""Searching hyper-parameters with KerasTuner."""
