"""Packs a trained inpainter into a folder to share, and pushes it to a hub."""
