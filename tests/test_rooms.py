"""The house: which room may import which, and how large its parts may become."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gsjax"
# From the lowest to the highest. A module imports from its own room and from lower ones.
ROOMS = (
    "errors",
    "files progress signals sharding distributed",
    "fetch",
    "config",
    "kernels",
    "models",
    "data",
    "convert",
    "trained",
    "training",
    "inpainting",
    "evaluation aot serve pack",
    "cli",
    "main inpaint evaluate plot __main__",
)
RANKS = {name: rank for rank, names in enumerate(ROOMS) for name in names.split()}
COMMANDS = {
    "aot.__main__", "convert.__main__", "convert.command", "data.prepare", "pack.__main__",
    "serve.__main__",
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def rank(module: str) -> int:
    return len(ROOMS) - 1 if module in COMMANDS else RANKS[module.partition(".")[0]]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the modules of the package that a file imports, in functions too, and the lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, module = name.partition(".")
            if package == "gsjax" and module:
                # `from gsjax.a.b import c`: c is a module or a name in b.
                is_module = (PACKAGE / f"{module.replace('.', '/')}.py").exists()
                yield node.lineno, module if is_module else module.rpartition(".")[0] or module


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_import_points_to_a_higher_room(path):
    own = name_of(path)
    if own == "__init__":
        assert not list(imported(path))
        return
    upward = [
        f"line {line}: {module}"
        for line, module in imported(path)
        if rank(module) > rank(own)
        or (rank(module) == rank(own) and module.split(".")[0] != own.split(".")[0])
    ]
    assert not upward


def test_every_room_is_in_the_order():
    rooms = {name_of(path).partition(".")[0] for path in FILES} - {"__init__"}
    assert rooms == RANKS.keys()


def test_at_most_14_files_lie_flat():
    assert len(list(PACKAGE.glob("*.py"))) <= 14


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_have_at_most_300_lines_and_functions_70(path):
    if name_of(path).startswith("kernels."):
        return
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, functions)
    }
    assert {name: length for name, length in lengths.items() if length > 70} == {}


def test_the_page_on_architecture_names_files_that_exist():
    page = (ROOT / "docs" / "architecture.md").read_text()
    names = re.findall(r"`([\w./]*(?:\.py|/))`", page)
    names += re.findall(r"[\w./]+(?:\.py|/)", page.partition("```text")[2].partition("```")[0])
    assert len(names) > 60
    missing = {name for name in names if not (PACKAGE / name).exists()}
    assert {name for name in missing if not (ROOT / name).exists()} == set()
