"""Mixtures of atoms by softmax weights."""
