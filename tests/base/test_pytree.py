import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ctflow as ct
from ctflow._base.pytree import check_registered

PI = ct.couplings.paired(3)
OBJECTS = [
    ct.kernels.Exponential(0.1),
    ct.kernels.GeodesicGaussian(0.1),
    ct.kernels.ChordalGaussian(0.1),
    ct.flows.GradientFlow(step_size=0.1),
    ct.flows.Langevin(step_size=0.1),
    ct.flows.Descent(optax.adam(1e-2)),
    ct.energies.SmoothedEntropy(ct.kernels.Exponential(0.1)),
    ct.energies.SmoothedEntropy(ct.kernels.ChordalGaussian(0.1)),
    ct.energies.SymmetricDivergence(ct.kernels.Exponential(0.1)),
    ct.energies.LogVolume(ct.kernels.Exponential(0.1)),
    ct.energies.CrossEntropy(ct.kernels.Exponential(0.1), direction="12"),
    ct.energies.CrossEntropy(ct.kernels.Exponential(0.1), direction="21"),
    ct.energies.symmetric(PI, temperature=0.1),
    ct.energies.Alignment(PI, temperature=0.1),
]


def test_no_two_classes_share_a_tree_structure():
    """A jitted function tells its arguments apart by structure: two kernels must never look the same."""
    structures = [jax.tree.structure(thing) for thing in OBJECTS]
    for (a, one), (b, other) in itertools.combinations(zip(structures, OBJECTS, strict=True), 2):
        assert a != b, (one, other)


def test_the_same_class_keeps_its_structure_whatever_its_numbers():
    a, b = (jax.tree.structure(ct.kernels.Exponential(tau)) for tau in (0.1, 2.0))
    assert a == b
    assert hash(a) == hash(b)


@pytest.mark.parametrize("thing", OBJECTS, ids=lambda thing: type(thing).__name__)
def test_objects_survive_a_round_trip_with_their_field_names(thing):
    leaves, structure = jax.tree.flatten(thing)
    again = jax.tree.unflatten(structure, leaves)
    assert type(again) is type(thing)
    for field in dataclasses.fields(thing):
        one, other = (jax.tree.leaves(getattr(obj, field.name)) for obj in (thing, again))
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    names = {field.name for field in dataclasses.fields(thing)}
    assert {path[0].name for path, _ in jax.tree.leaves_with_path(thing)} <= names


def test_a_jitted_function_never_confuses_two_kernels():
    cosine = jnp.linspace(-1, 1, 5)

    @jax.jit
    def scores(kernel):
        return kernel.log_kernel(cosine)

    for parameter in (0.1, 0.3):
        for kernel in (thing for thing in OBJECTS if isinstance(thing, ct.kernels.Kernel)):
            same = type(kernel)(parameter)
            np.testing.assert_allclose(scores(same), same.log_kernel(cosine), rtol=1e-12)


class Bare(ct.kernels.Kernel):
    """A kernel that JAX does not know, for an __init__ of its own."""

    def __init__(self):
        pass

    def log_kernel(self, cosine):
        return cosine


class BareFlow(ct.flows.Flow):
    """A flow that JAX does not know."""

    def __init__(self):
        pass


@pytest.mark.parametrize("thing", OBJECTS, ids=lambda thing: type(thing).__name__)
def test_registered_objects_are_known(thing):
    check_registered("thing", (thing, {"more": [thing]}))


@pytest.mark.parametrize(
    ("thing", "where", "kind"),
    [
        (Bare(), "thing", "Bare"),
        (BareFlow(), "thing", "BareFlow"),
        (ct.energies.SmoothedEntropy(Bare()), "thing.kernel", "Bare"),
        (
            ct.energies.CrossEntropy(Bare()) - ct.energies.CrossEntropy(OBJECTS[0]),
            "thing.parts[0].kernel",
            "Bare",
        ),
        ({"a": "text"}, "thing['a']", "str"),
    ],
    ids=["kernel", "flow", "in an energy", "deep in an energy", "text"],
)
def test_objects_unknown_to_jax_are_named_where_they_are(thing, where, kind):
    with pytest.raises(ValueError, match="registered with JAX") as caught:
        check_registered("thing", thing)
    message = (
        f" must be a number, an array or an object registered with JAX, got an unregistered {kind}; declare "
        f"the numbers of an energy, kernel, potential or flow as annotated fields, not in an __init__, "
        f"and other fields with ct.static()"
    )
    assert str(caught.value) == where + message
    with pytest.raises(ValueError, match="registered with JAX"):
        ct.clouds.as_dtype(thing, jnp.float32)


def test_a_kernel_unknown_to_jax_is_named_by_the_sum():
    x = jnp.eye(3)
    with pytest.raises(
        ValueError, match="kernel must be a number, an array or an object registered with JAX"
    ):
        ct.log_partition(x, x, Bare())
