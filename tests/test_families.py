"""What every member of every family keeps: its name, its config, its equality."""

import json
import typing

import keras
import numpy as np
import pytest

from kprune import allocations, criteria, patterns, refits, schedules
from kprune._second_order import hessian

pytestmark = pytest.mark.quick

FAMILIES = {
    "patterns": (patterns, patterns.PatternName),
    "schedules": (schedules, schedules.ScheduleName),
    "allocations": (allocations, allocations.AllocationName),
    "criteria": (criteria, criteria.CriterionName),
    "estimators": (hessian, criteria.EstimatorName),
    "refits": (refits, refits.RefitName),
}


@keras.saving.register_keras_serializable("test_families")
def ramp(step):
    return min(0.8, step / 1000)


# Every name, and arguments that are not the defaults.
MEMBERS = [
    *(
        (family, make())
        for family, (module, _) in FAMILIES.items()
        for make in module.MEMBERS.values()
    ),
    ("patterns", patterns.Block((2, 3), pooling="max")),
    ("patterns", patterns.Channel("max")),
    ("patterns", patterns.NM(3, 8)),
    ("schedules", schedules.Constant(0.5, 3)),
    ("schedules", schedules.PolynomialDecay(0.1, 0.9, 0.1, 0.8, 2, 7)),
    ("schedules", schedules.PolynomialDecay(0, np.float64(0.9), end_step=np.int64(9))),
    ("schedules", schedules.Iterative(0.2, 0.8, 4, 11, 5)),
    ("schedules", schedules.Function(ramp, 2, 50, 3)),
    ("allocations", allocations.Fixed({"a": 0.5, "b": np.float64(0.1)})),
    ("criteria", criteria.Random(seed=3)),
    ("criteria", criteria.Movement(memory=0.5)),
    ("criteria", criteria.OBD(estimator="exact", batch_size=7)),
    ("criteria", criteria.OBD(estimator=criteria.Hutchinson(probes=5), recomputations=2)),
    ("criteria", criteria.OBS(None, "block", block_size=8, fisher="empirical_fisher", damping=0.1)),
    ("criteria", criteria.Wanda(per_output=False, sequential=True)),
    ("criteria", criteria.SparseGPT(damping=0.01)),
    ("estimators", criteria.GaussNewton(seed=2)),
    ("estimators", criteria.Hutchinson(probes=3, relative_error=0.5)),
    ("estimators", criteria.Exact(chunk=5)),
    ("estimators", criteria.Backward(levenberg_marquardt=False)),
    ("refits", refits.LeastSquares(damping=0.5, sequential=True)),
]


@pytest.mark.parametrize(("family", "member"), MEMBERS, ids=lambda value: type(value).__name__)
def test_a_config_is_json_and_stands_for_its_member(family, member):
    config = json.loads(json.dumps(member.get_config()))
    assert type(member).from_config(config) == member
    get = FAMILIES[family][0].get
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(member)))
    again = get(config)
    assert again == member and type(again) is type(member)
    assert get(member) is member


def test_an_interval_has_a_config_too():
    interval = schedules.Interval(0.1, 900, 7)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(interval)))
    assert keras.saving.deserialize_keras_object(config) == interval


def test_a_lambda_is_in_the_config_and_unsafe():
    with pytest.warns(UserWarning, match="lambda"):
        config = keras.saving.serialize_keras_object(schedules.Function(lambda step: step / 8))
    config = json.loads(json.dumps(config))
    with pytest.raises(ValueError, match="safe_mode"):
        keras.saving.deserialize_keras_object(config)
    assert keras.saving.deserialize_keras_object(config, safe_mode=False)(4) == 0.5


def test_data_stays_out_of_a_config():
    saliency = criteria.Saliency((np.zeros(3), np.zeros(3)), batch_size=7)
    assert saliency.get_config() == {"batch_size": 7, "recomputations": 1}
    assert "data" not in repr(saliency)
    assert refits.LeastSquares(np.zeros(3), batch_size=7).get_config() == {
        "damping": "auto",
        "batch_size": 7,
        "sequential": False,
    }


def literals(alias):
    """The strings that a `Literal`, or a union of some, allows."""
    if typing.get_origin(alias) is typing.Literal:
        return set(typing.get_args(alias))
    return set().union(*map(literals, typing.get_args(alias)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_names_of_the_types_are_those_of_the_members(family):
    module, alias = FAMILIES[family]
    assert literals(alias) >= set(module.MEMBERS)
    for name in literals(alias):  # "1:4" is a pattern, too
        made = module.MEMBERS[name]() if name in module.MEMBERS else module.get(name)
        assert module.get(name) == made


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_name_or_type_says_what_to_write(family):
    module = FAMILIES[family][0]
    first = next(iter(module.MEMBERS))
    with pytest.raises(ValueError, match=f"names no .*Write .*{first}"):
        module.get(first[:-1])
    with pytest.raises(TypeError, match="=3, an int; expected .*Write "):
        module.get(3)
