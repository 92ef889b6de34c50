"""Trainings as `tfrs-npa train` runs them: the folder, the course, the evaluation."""
