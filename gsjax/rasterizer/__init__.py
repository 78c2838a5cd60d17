"""Splatting of 2D Gaussians, patch by patch."""

from gsjax.rasterizer.api import rasterize as rasterize
