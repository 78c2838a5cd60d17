"""Splatting of 2D Gaussians, patch by patch."""

from gsjax.kernels.rasterizer.api import rasterize as rasterize
