"""What every member of every family keeps: its config, its equality, its name."""

import json

import keras
import numpy as np
import pytest

from kprune import allocations, criteria, patterns, refits, schedules
from kprune._second_order import hessian
from kprune._support import registration

pytestmark = pytest.mark.quick

MEMBERS = [
    patterns.Unstructured(),
    patterns.Block((4, 1)),
    patterns.Block((2, 3), pooling="max"),
    patterns.Channel(),
    patterns.NM(2, 4),
    schedules.Constant(0.5, 3),
    schedules.Interval(0.1, 900, 7),
    schedules.PolynomialDecay(0.1, 0.9, 0.1, 0.8, 2, 7),
    schedules.Iterative(0.2, 0.8, 4, 11, 5),
    allocations.ClassBlind(),
    allocations.ClassUniform(),
    allocations.ClassDistribution(),
    allocations.ERK(),
    allocations.Fixed({"a": 0.5, "b": 0.1}),
    criteria.Magnitude(),
    criteria.Random(seed=3),
    criteria.Movement(memory=0.5),
    criteria.OBD(estimator="exact", batch_size=7),
    criteria.OBD(estimator=hessian.Hutchinson(probes=5), recomputations=2),
    criteria.OBS(hessian="block", block_size=8, fisher="empirical_fisher", damping=0.1),
    criteria.Wanda(per_output=False, sequential=True),
    criteria.SparseGPT(damping=0.01),
    hessian.GaussNewton(seed=2),
    hessian.EmpiricalFisher(),
    hessian.Hutchinson(probes=3, relative_error=0.5),
    hessian.Exact(chunk=5),
    hessian.Backward(levenberg_marquardt=False),
    refits.LeastSquares(damping=0.5, sequential=True),
]
NAMED = {
    "tflite_float32": patterns.Block((4, 1)),
    "tflite_dynamic": patterns.Block((16, 1)),
    "tflite_int8": patterns.Block((16, 1)),
    "xnnpack_1x1": patterns.Block((1, 4)),
    "2:4": patterns.NM(2, 4),
}
BASES = {
    "patterns": patterns.Pattern,
    "allocations": allocations.Allocation,
    "criteria": criteria.Criterion,
    "curvature": hessian.Diagonal,
    "refits": refits.Refit,
}
FAMILIES = {
    "patterns": patterns,
    "allocations": allocations,
    "criteria": criteria,
    "curvature": hessian,
    "refits": refits,
}


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_config_makes_the_same_member(member):
    arguments = json.loads(json.dumps(member.get_config()))
    assert type(member).from_config(arguments) == member
    config = keras.saving.serialize_keras_object(member)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert again == member and hash(type(again)) == hash(type(member))


NOT_ASKED_FOR = criteria.Saliency, schedules.Interval  # data, and no schedule of a sparsity


@pytest.mark.parametrize(
    "member", [m for m in MEMBERS if not isinstance(m, NOT_ASKED_FOR)], ids=repr
)
def test_a_config_stands_for_its_member(member):
    family = {patterns.Pattern: patterns, schedules.Schedule: schedules}
    family |= {allocations.Allocation: allocations, criteria.Criterion: criteria}
    family |= {hessian.DiagonalEstimator: hessian, refits.Refit: refits}
    module = next(each for base, each in family.items() if isinstance(member, base))
    assert module.get(keras.saving.serialize_keras_object(member)) == member
    assert module.get(member) is member


def test_data_stays_out_of_a_config():
    saliency = criteria.Saliency((np.zeros(3), np.zeros(3)), batch_size=7)
    assert saliency.get_config() == {"batch_size": 7, "recomputations": 1}
    assert "data" not in repr(saliency)


def doubled(step):
    return min(0.9, 2 * step / 100)


def test_a_function_in_a_config():
    """By its name where it is registered; a lambda as code, which Keras warns of and refuses."""
    member = schedules.Function(doubled, 0, 40)
    config = json.loads(json.dumps(member.get_config()))
    with keras.saving.CustomObjectScope({"doubled": doubled}):
        assert schedules.Function.from_config(config) == member
    with pytest.warns(UserWarning, match="named Python functions instead"):
        config = schedules.Function(lambda step: 0.25).get_config()
    with pytest.raises(ValueError, match="unsafe"):
        schedules.Function.from_config(json.loads(json.dumps(config)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_makes_a_member_of_its_class(family):
    """A name is that of its class, except where a name stands for arguments too."""
    module = FAMILIES[family]
    for name in module.MEMBERS:
        member = module.get(name)
        assert name in (registration.snake_case(type(member).__name__), *NAMED)
        assert isinstance(member, BASES[family])
        if name in NAMED:
            assert member == NAMED[name]
        else:
            assert member == type(member)()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_name_or_type_says_what_to_write(family):
    module = FAMILIES[family]
    first = next(iter(module.MEMBERS))
    with pytest.raises(ValueError, match=f"Write .*{first}"):
        module.get(first[:-1])
    with pytest.raises(TypeError, match="is a int; expected one of"):
        module.get(3)
