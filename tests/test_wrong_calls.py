"""Wrong calls: the documented error, with the line to write, and nothing else changed."""

import inspect
import re

import keras
import numpy as np
import pytest
from wrong_calls import World, core, criteria, export, members, models, training

import kprune
from kprune._support import signatures

TABLES = {
    each.__name__.split(".")[1]: each
    for each in (core, models, members, criteria, training, export)
}
CALLS = {
    f"{topic}: {table.lower()}: {name}": call
    for topic, module in TABLES.items()
    for table, rows in vars(module).items()
    if table.isupper() and isinstance(rows, dict)
    for name, call in rows.items()
    if hasattr(call, "words")
}


# What kprune makes and gives to users, and what they only subclass.
RESULTS = r".*(Report|Tensor|Check|Error|Encoding|Weight|Costs?)|Batch|Grid"
PACKAGES = [kprune, kprune.training.codebooks]
PACKAGES += filter(inspect.ismodule, (getattr(kprune, name) for name in kprune.__all__))
PUBLIC = {
    f"{package.__name__}.{name}": vars(package)[name]
    for package in PACKAGES
    for name in package.__all__
    if (inspect.isfunction(vars(package).get(name)) or inspect.isclass(vars(package).get(name)))
    and not (inspect.isabstract(vars(package)[name]) or re.fullmatch(RESULTS, name))
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield World(folder)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call(world, name):
    row, before = CALLS[name], world.state
    with pytest.raises(row.error) as caught:
        row.call(world)
    after = world.state = world.fingerprint()  # the next call's before
    message = str(caught.value)
    for word in (*row.words, "xpected"):
        assert word.replace('"', "'") in message.replace('"', "'"), message
    assert re.search(r"\b[Ww]rite ", message), message
    assert len(message) < 1500
    for part, state in before.items():
        assert after[part] == state, part


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.float16(0.5), 0.5])
def test_numbers_of_numpy_are_numbers(number):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    assert kprune.prune(model, number).sparsity == 0.5
    assert kprune.prune(model, {"sequential/dense": number}).kept == 12
    assert kprune.schedules.Constant(number)(0) == 0.5
    assert kprune.criteria.SparseGPT(damping=number).damping == 0.5
    assert kprune.patterns.Block((np.int64(4), np.int32(1))) == kprune.patterns.Block((4, 1))


def test_a_quantized_model_is_reported_by_its_zeros():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    kprune.strip(kprune.wrap(model))
    kernel = np.linspace(-1, 1, 24).reshape(4, 6)
    kernel[:2] = 0
    model.layers[0].kernel.assign(kernel)
    model.layers[0].quantize("int8")
    report = kprune.report(model)
    assert (report.size, report.kept) == (24, 12)


def test_a_signature_is_what_it_was():
    """What explains wrong calls is not seen by `help` and editors."""
    assert [*inspect.signature(kprune.prune).parameters][:2] == ["model", "sparsity"]
    assert [*inspect.signature(kprune.criteria.Wanda).parameters][:2] == ["data", "per_output"]
    assert [*inspect.signature(kprune.callbacks.Pruning).parameters][0] == "schedule"
    with pytest.raises(ZeroDivisionError):  # what the function itself raises stays
        signatures.explained(lambda x: 1 / x)(0)
    with pytest.raises(TypeError, match="unsupported operand"):
        signatures.explained(lambda x: x + None)(0)


def test_every_public_call_explains_an_unknown_argument():
    for name, function in PUBLIC.items():
        with pytest.raises(TypeError, match=r"nonsense=1\).*expected .*Write "):
            function(nonsense=1)
        assert inspect.signature(function).parameters is not None, name


def test_there_are_more_than_two_hundred():
    assert len(CALLS) >= 200 and len(PUBLIC) >= 60
