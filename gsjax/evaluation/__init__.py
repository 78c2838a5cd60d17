"""Evaluates fills, ours and those of other methods, by the published protocol."""
