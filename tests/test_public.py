"""The names that `import gsjax` promises."""

import subprocess
import sys

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
