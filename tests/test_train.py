"""Parts of the run; the whole of it is in test_main."""

import pytest

from gsjax.errors import UserError
from gsjax.train import check_finite


@pytest.mark.parametrize("name", ["loss/total", "gradient_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_run_stops_before_it_is_saved(name, value):
    scalars = {"loss/total": -0.5, "gradient_norm": 0.1}
    check_finite(7, scalars)
    with pytest.raises(UserError, match=rf"{name} is {value} at step 7"):
        check_finite(7, scalars | {name: value})
