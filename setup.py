"""Adds the recipes in configs/ to the package, as gsjax/configs; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["gsjax*"]), "gsjax.configs"],
    package_dir={"gsjax.configs": "configs"},
)
