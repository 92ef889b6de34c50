"""Trainings as `tfrs-npa train` runs them: the run folder, the training, the evaluation."""
