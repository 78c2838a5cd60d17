"""Mixtures of atoms, weighted by the softmax of queries and keys."""
