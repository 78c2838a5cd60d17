"""Training: the loop, the train step, and the contents of the workdir."""
