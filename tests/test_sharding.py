"""The mesh's rules, and where arrays go on it."""

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from gsjax import sharding
from gsjax.errors import UserError


@pytest.mark.usefixtures("unchecked")  # of stand-ins for devices and mesh
@pytest.mark.parametrize(
    ("count", "data", "fsdp", "shape"),
    [
        (1, -1, 1, (1, 1)),
        (4, -1, 1, (4, 1)),
        (4, -1, 2, (2, 2)),
        (4, 1, -1, (1, 4)),
        (6, 2, 3, (2, 3)),
    ],
)
def test_a_mesh_has_the_axes_data_and_fsdp(monkeypatch, count, data, fsdp, shape):
    made = []
    monkeypatch.setattr(jax, "devices", lambda: list(range(count)))
    monkeypatch.setattr(sharding, "Mesh", lambda *arguments: made.append(arguments))
    sharding.make_mesh(data, fsdp)
    ((arranged, axes),) = made
    assert axes == ("data", "fsdp")
    np.testing.assert_array_equal(arranged, np.arange(count).reshape(shape))


@pytest.mark.parametrize(("data", "fsdp"), [(0, 1), (-1, 0), (-2, 1), (-1, -1)])
def test_a_size_that_is_none_is_the_users_error(data, fsdp):
    with pytest.raises(UserError, match=rf"mesh\.data={data}, mesh\.fsdp={fsdp}: each must be"):
        sharding.make_mesh(data, fsdp)


@pytest.mark.parametrize(("data", "fsdp"), [(4, 2), (3, 1), (-1, 3), (1, 1), (-1, 8)])
def test_a_mesh_of_another_number_of_devices_is_the_users_error(monkeypatch, data, fsdp):
    monkeypatch.setattr(jax, "devices", lambda: list(range(4)))
    with pytest.raises(
        UserError, match=rf"mesh\.data={data}, mesh\.fsdp={fsdp}: .* not 4, the number of devices"
    ):
        sharding.make_mesh(data, fsdp)


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((3, 3, 64, 128), (None, None, None, "fsdp")),  # the largest
        ((128, 128), ("fsdp", None)),  # the first of the largest
        ((130, 64), (None, "fsdp")),  # the largest that 4 divides
        ((4096,), ("fsdp",)),
        ((4092,), ()),  # too small to be worth it
        ((), ()),
        ((81, 81), ()),  # nothing that 4 divides
        ((0, 64), ()),
    ],
    ids=str,
)
def test_fsdp_splits_the_largest_dimension_that_it_divides(shape, spec):
    mesh = AbstractMesh((2, 4), ("data", "fsdp"))
    tree = {"array": jax.ShapeDtypeStruct(shape, np.float32)}
    assert sharding.over_fsdp(tree, mesh)["array"].spec == PartitionSpec(*spec)


def test_without_fsdp_everything_is_replicated():
    mesh = AbstractMesh((4, 1), ("data", "fsdp"))
    tree = jax.ShapeDtypeStruct((4096, 4096), np.float32)
    assert sharding.over_fsdp(tree, mesh).spec == PartitionSpec()


@pytest.mark.parametrize(("size", "divided"), [(2**25, False), (2**25 + 4, True)])
def test_only_a_large_frozen_network_is_divided(size, divided):
    mesh = AbstractMesh((2, 4), ("data", "fsdp"))
    tree = {"large": jax.ShapeDtypeStruct((size,), np.float32)}
    assert sharding.of_frozen(tree, mesh)["large"].is_fully_replicated != divided


def test_a_batch_is_put_whole_over_all_devices():
    mesh = sharding.make_mesh(-1, 1)
    batch = {"image": np.arange(24, dtype=np.uint8).reshape(2, 4, 3, 1)}
    (image,) = sharding.put_batch(batch, mesh).values()
    np.testing.assert_array_equal(image, batch["image"])
    assert image.dtype == np.uint8
    assert image.sharding.spec == PartitionSpec(("data", "fsdp"))
