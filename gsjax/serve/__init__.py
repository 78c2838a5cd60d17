"""Filling holes in the browser and over HTTP: `python -m gsjax.serve`."""
