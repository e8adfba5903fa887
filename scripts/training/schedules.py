"""Builds the schedules that programs on text offer, as fractions of the retraining."""

import kprune

NAMES = ("constant", "iterative", "polynomial_decay")


def build_schedule(name: str, sparsity: float) -> kprune.schedules.Schedule:
    """Returns a schedule whose last mask update comes at two thirds at the latest.

    So a third of the retraining is left to fine-tune.

    Args:
        name: one of `NAMES`.
        sparsity: at the end.
    """
    if name == "constant":
        return kprune.schedules.Constant(sparsity)
    if name == "iterative":
        return kprune.schedules.Iterative(sparsity / 3, sparsity, frequency=0.07)
    return kprune.schedules.PolynomialDecay(0.0, sparsity, end_step=0.65, frequency=0.02)
