"""Schedules against the papers' figures, and the promise that they land."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kprune import schedules

pytestmark = pytest.mark.quick

PolynomialDecay = schedules.PolynomialDecay


def test_zhu_and_gupta():
    ramp = PolynomialDecay(0.0, 0.8, 1000, 2000)
    for step, sparsity in [(1000, 0), (1100, 0.2168), (1250, 0.4625), (1500, 0.7), (1750, 0.7875)]:
        assert ramp(step) == pytest.approx(sparsity, abs=1e-12)
    assert ramp(2000) == ramp(9999) == 0.8


def test_cheong_and_daniel():
    """X at once, then a ninth of the way every 1001 iterations: Y by the 10,000th."""
    iterative = schedules.Iterative(0.3, 0.9, frequency=1001, begin_step=0)
    values = [iterative(iterative.grid(step)) for step in range(0, 10_001, 7)]
    assert values[0] == pytest.approx(0.3) and values[-1] == pytest.approx(0.9)
    assert len({round(value, 9) for value in values}) == 10
    assert iterative(1000) == pytest.approx(0.3)
    assert iterative(1001) == pytest.approx(0.3 + 0.6 / 9)
    assert iterative.end_step == 9009 <= 10_000


@given(
    st.integers(0, 50),
    st.integers(0, 200),
    st.integers(1, 97),
    st.integers(1, 9),
    st.integers(0, 60),
)
def test_a_schedule_lands_whatever_steps_are_seen(begin, length, frequency, stride, extra):
    """The last prune of a loop that runs to the end is the final sparsity."""
    schedule = PolynomialDecay(0.1, 0.7, begin, begin + length, frequency=frequency)
    last, reached = None, 0.0
    for step in range(0, begin + length + extra + stride, stride):
        grid = schedule.grid(step)
        if grid is not None and (last is None or grid > last):
            last, reached = step, schedule(grid)
            assert begin <= grid <= step
    assert reached == 0.7


@given(st.integers(0, 30), st.integers(0, 60), st.integers(1, 19), st.integers(0, 99))
def test_after_is_the_next_step_of_the_grid(begin, length, frequency, step):
    schedule = PolynomialDecay(0.1, 0.7, begin, begin + length, frequency=frequency)
    later = [each for each in range(step + 1, 300) if schedule.grid(each) == each]
    assert schedule.after(step) == (later[0] if later else float("inf"))


def test_fractions_become_steps():
    ramp = PolynomialDecay(0.0, 0.9, 0.1, 0.5, frequency=0.01)
    assert not ramp.is_resolved
    resolved = ramp.resolve(2000, origin=300)
    assert (resolved.begin_step, resolved.end_step, resolved.frequency) == (500, 1300, 20)
    assert resolved.is_resolved and resolved.resolve(7) is resolved
    tiny = schedules.Iterative(0.1, 0.9, steps=3, frequency=0.25).resolve(8)
    assert tiny.end_step == 6 and tiny(tiny.grid(6)) == 0.9


def test_any_callable_is_a_schedule():
    schedule = schedules.get(lambda step: min(0.5, step / 100))
    assert schedule.resolve(1000)(20) == 0.2
    assert schedule.resolve(1000).end_step == 1000
    with pytest.raises(ValueError, match="schedule's value at step 3"):
        schedules.get(lambda step: 1.5)(3)


@pytest.mark.filterwarnings("ignore:distutils:DeprecationWarning")
def test_schedules_of_the_older_toolkit():
    """Its own objects, and the values that they themselves return."""
    import os

    before = os.environ.get("TF_USE_LEGACY_KERAS")
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_schedule

    if before is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
    theirs = pruning_schedule.PolynomialDecay(0.1, 0.8, 100, 500, power=2, frequency=50)
    ours = schedules.get(theirs)
    for step in range(100, 501, 50):
        assert ours(step) == pytest.approx(float(theirs(step)[1]), abs=1e-6)
        assert ours.grid(step) == step and bool(theirs(step)[0])
    constant = schedules.get(pruning_schedule.ConstantSparsity(0.5, begin_step=20))
    assert (constant.begin_step, constant(20)) == (20, 0.5)

    class Own(pruning_schedule.PruningSchedule):
        """A user's own schedule for the older toolkit."""

        begin_step, end_step, frequency = 2, 8, 3

        def __call__(self, step):
            return True, step / 10

        def get_config(self):
            return {}

    Own.__module__ = pruning_schedule.__name__
    assert [schedules.get(Own())(step) for step in (2, 5, 8)] == [0.2, 0.5, 0.8]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: PolynomialDecay(0.0, 1.0),
            ValueError,
            "final_sparsity=1.0; expected the fraction",
        ),
        (lambda: PolynomialDecay(0.0, 90), ValueError, "Write final_sparsity=0.9"),
        (lambda: PolynomialDecay(-0.1, 0.5), ValueError, "initial_sparsity"),
        (lambda: PolynomialDecay(0.0, 0.5, 10, 5), ValueError, "end_step=5 precedes begin_step=10"),
        (lambda: PolynomialDecay(0.0, 0.5, 0.5, 0.2), ValueError, "precedes"),
        (lambda: PolynomialDecay(0.0, 0.5, frequency=0), ValueError, "expected at least 1"),
        (lambda: PolynomialDecay(0.0, 0.5, begin_step=-3), ValueError, "expected at least 0"),
        (lambda: PolynomialDecay(0.0, 0.5, end_step=1.5), ValueError, "fraction of the fit"),
        (lambda: PolynomialDecay(0.0, 0.5, end_step="9"), TypeError, "expected a step"),
        (lambda: PolynomialDecay(0.0, 0.5, power=0), ValueError, "power"),
        (lambda: PolynomialDecay(0.0, 0.5, 700, 0.5).resolve(1000), ValueError, "precedes"),
        (lambda: PolynomialDecay(0.0, 0.5).resolve(None), ValueError, "steps_per_epoch"),
        (lambda: schedules.Iterative(0.1, 0.5, steps=0), ValueError, "Write steps=9"),
        (lambda: schedules.get(0.9), TypeError, "expected a schedule"),
        (lambda: schedules.get(None), TypeError, "expected a schedule"),
        (lambda: schedules.get("constantly"), ValueError, "Write schedule='constant'"),
        (lambda: schedules.get(PolynomialDecay), TypeError, "expected a schedule"),
    ],
)
def test_bad_schedules_say_what_to_write(make, error, message):
    with pytest.raises(error, match=message):
        make()
