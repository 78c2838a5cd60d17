"""The names that `import gsjax` promises."""

import subprocess
import sys
from pathlib import Path

from setuptools import find_packages

import gsjax


def test_the_public_names_stay_callable_whatever_is_imported():
    import gsjax.models.inpainter  # imports the rasterizer, whose package has another name

    for _ in range(2):
        assert callable(gsjax.rasterize)
        assert callable(gsjax.Inpainter.load)
        assert callable(gsjax.convert.reference)
        assert callable(gsjax.convert.dino)
        assert callable(gsjax.convert.discriminator)


def test_importing_gsjax_imports_no_jax():
    program = "import sys, gsjax; print('jax' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout == "False\n"


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(gsjax, "rasterise")


def test_an_installation_has_every_folder_of_the_package():
    root = Path(gsjax.__file__).parents[1]
    folders = {file.parent.relative_to(root) for file in (root / "gsjax").rglob("*.py")}
    assert {folder.as_posix().replace("/", ".") for folder in folders} == set(
        find_packages(str(root), include=["gsjax*"])
    )
