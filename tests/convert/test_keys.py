"""Keys of state dicts that no network has."""

import numpy as np
import pytest

from gsjax import convert
from gsjax.convert import keys
from gsjax.errors import UserError


@pytest.mark.parametrize(
    "number", ["9" * 5000, "9" * 400, "1234567890123", "999"], ids=lambda n: n[:8]
)
def test_a_number_that_cannot_be_a_layers_is_refused(number):
    arrays = dict.fromkeys((f"blocks.{i}.x" for i in range(200)), np.ones(1))
    with pytest.raises(UserError) as raised:
        keys.count(arrays | {f"blocks.{number}.x": np.ones(1)}, "blocks.", "weights")
    message = str(raised.value)
    assert message.startswith(f"weights: there is a key blocks.{number[:60]}")
    assert len(message) < 250


def test_only_ascii_digits_number_layers():
    arrays = dict.fromkeys(("blocks.0.x", "blocks.².x", "blocks.٣.x", "blocks.-1.x", "blocks.x"), 0)
    assert keys.count(arrays, "blocks.", "weights") == 1


@pytest.mark.parametrize("read", [convert.dino, convert.reference, convert.inception])
def test_long_and_unprintable_keys_are_shortened_in_errors(read):
    arrays = {name + "x" * 10**6: np.ones(1) for name in ("", "a\n", "\x1b[31m", "é")}
    with pytest.raises(UserError) as raised:
        read(arrays)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000
