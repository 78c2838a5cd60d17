"""Benchmarks of speed, memory and quality; run one with python -m benchmarks.NAME."""
