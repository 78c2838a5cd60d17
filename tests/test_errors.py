import pickle

import pytest

from gsjax import errors
from gsjax.errors import UserError


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (
            ("--mask", "holes.png is empty", "name another"),
            "--mask: holes.png is empty; name another",
        ),
        (("--mask", "holes.png is empty"), "--mask: holes.png is empty"),
        (("", "it is empty", "name another"), "it is empty; name another"),
        (
            ("data.train", "no images.", "\nGet some with\ncurl"),
            "data.train: no images.\nGet some with\ncurl",
        ),
    ],
)
def test_a_message_is_where_what_and_remedy(parts, text):
    error = UserError(*parts)
    assert str(error) == text
    assert str(pickle.loads(pickle.dumps(error))) == text


def test_a_caller_adds_the_place():
    with pytest.raises(UserError) as caught, errors.at("--mask"), errors.at("holes.png"):
        raise UserError("", "it is empty", "name another")
    assert str(caught.value) == "--mask: holes.png: it is empty; name another"
    assert caught.value.where == "--mask: holes.png"
    with pytest.raises(UserError) as caught, errors.at("stage last"):
        raise UserError("model.fold", "-1 is negative")
    assert str(pickle.loads(pickle.dumps(caught.value))) == "stage last: model.fold: -1 is negative"
