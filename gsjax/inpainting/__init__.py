"""Fills holes in pictures of any size with a trained model."""
