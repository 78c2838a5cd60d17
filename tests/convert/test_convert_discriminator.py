"""Reading the published discriminator; that it computes the same is in tests/models."""

import jax
import numpy as np
import pytest

from gsjax import convert
from gsjax.errors import UserError
from gsjax.models.discriminator import Discriminator
from tests import published


@pytest.fixture(scope="module")
def state_dict():
    return published.load("discriminator").state_dict


def test_every_bit_survives_a_round_trip(state_dict):
    module, variables = convert.discriminator(state_dict)
    assert module == Discriminator(width=64)
    back = convert.discriminator_state_dict(module, variables)
    assert back.keys() == state_dict.keys()
    jax.tree.map(np.testing.assert_array_equal, back, state_dict)


def test_wrong_keys_are_listed(state_dict):
    changed = dict(state_dict, extra=np.zeros(2))
    del changed["main.9.bias"]
    with pytest.raises(UserError, match=r"1 missing: main\.9\.bias; 1 left over: extra"):
        convert.discriminator(changed)
