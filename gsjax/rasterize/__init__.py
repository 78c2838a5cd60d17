"""Splatting of 2D Gaussians, patch by patch."""

from gsjax.rasterize.api import rasterize as rasterize
