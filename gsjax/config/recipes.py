"""The recipes that come with gsjax, by name: `photos` is configs/photos.py."""

import importlib.util
import re
from pathlib import Path

from ml_collections import ConfigDict

from gsjax.errors import UserError, suggestion


def folder() -> Path:
    """Returns the folder of the recipes: inside an installed package, beside that of a clone."""
    package = Path(__file__).parents[1]
    inside = package / "configs"  # see setup.py
    return inside if inside.is_dir() else package.parent / "configs"


def names() -> list[str]:
    """Returns the names of all recipes, sorted."""
    return sorted(file.stem for file in folder().glob("*.py"))


def find(config: str) -> str:
    """Returns the path of the config that is asked for.

    Args:
      config: a file, or the name of a recipe if there is no file of that name; either may have an
        argument behind a colon, which is kept.
    """
    name, colon, argument = config.partition(":")
    if not is_name(name) or Path(name).is_file() or name not in names():
        return config
    return f"{folder() / name}.py{colon}{argument}"


def is_name(config: str) -> bool:
    """Returns whether it can be the name of a recipe, not a path."""
    return re.fullmatch(r"\w+", config) is not None


def recipe(name: str) -> ConfigDict:
    """Returns the config of a recipe, for another one to start from.

    Raises:
      UserError: there is no such recipe.
    """
    if name not in names():
        meant = suggestion(name, names())
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(names())}"
        raise UserError("", f"there is no recipe {name!r}", hint)
    spec = importlib.util.spec_from_file_location(name, folder() / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
