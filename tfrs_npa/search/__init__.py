"""Searching hyper-parameters with KerasTuner: the folder of a search, its trials, its results."""
