"""Measuring how well holes are filled, ours beside others', by the published protocol."""
