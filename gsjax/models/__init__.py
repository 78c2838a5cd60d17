"""The networks, one idea per file, and their losses and metrics."""
