"""What each command of `tfrs-npa` does: `run(options)` of the module of its name."""
