"""Prunes an encoder while it is retrained, by one of five methods."""

import dataclasses
from collections.abc import Sequence

import keras

import kprune
from training import schedules

SHRINKING = 0.5  # part of the retraining in which the proximal step works
FOUND = 0.95  # part of the zeros that it finds; magnitude finds the rest
REWEIGHTING = 0.025  # part of the retraining between two estimates of its weights
OBSERVING = 0.1  # part of the retraining before accumulated scores make the first mask update


@dataclasses.dataclass(frozen=True)
class Method:
    """The schedule, the criterion and the allocation of a pruning method.

    Args:
        schedule: how the sparsity rises; "constant" waits for the proximal phase.
        criterion: how weights are scored.
        allocation: how layers compare.
    """

    schedule: str
    criterion: str
    allocation: str


# Within each layer: pruned by movement over all layers in some hundred updates, a network ended at
# chance level. The proximal step decides itself where its zeros are.
METHODS = {
    "imp": Method("iterative", "magnitude", "class_uniform"),
    "nip": Method("polynomial_decay", "magnitude", "class_uniform"),
    "rpp": Method("constant", "magnitude", "class_blind"),
    "movement": Method("polynomial_decay", "movement", "class_uniform"),
    "saliency": Method("polynomial_decay", "saliency", "class_uniform"),
}


def callbacks(
    name: str,
    model: keras.Model,
    sparsity: float,
    steps: int,
    strength: float | None = None,
    schedule: str | None = None,
    allocation: str | None = None,
) -> Sequence[keras.callbacks.Callback]:
    """Returns what prunes a compiled, wrapped model during the fit to come.

    Args:
        name: "imp", iterative magnitude; "nip", gradual magnitude; "rpp", reweighted proximal,
            completed by magnitude; "movement" and "saliency", gradual, by
            scores that accumulate during training.
        model: dense still.
        sparsity: of the masked weights at the end.
        steps: updates of the fit.
        strength: of "rpp". Default: one that finds most of the zeros.
        schedule: in place of the method's own: one of `schedules.NAMES`.
        allocation: in place of the method's own.

    Example:
        >>> data = encoder.batches(preprocessor, splits.train, 32, seed=0)
        >>> model.fit(data, callbacks=callbacks("nip", model, 0.9, len(data)))
    """
    method = METHODS[name]
    rises = schedules.build_schedule(schedule or method.schedule, sparsity)
    if name == "rpp":
        rises = kprune.schedules.Constant(sparsity, begin_step=SHRINKING)
    if name in ("movement", "saliency"):
        rises = dataclasses.replace(rises, begin_step=OBSERVING)
    pruning = kprune.callbacks.Pruning(
        rises, method.criterion, allocation or method.allocation, per_class=False
    )
    if name != "rpp":
        return [pruning]
    proximal = kprune.callbacks.ReweightedProximal(
        strength
        or kprune.training.proximal_strength(model, FOUND * sparsity, round(SHRINKING * steps)),
        reweighting=REWEIGHTING,
        end_step=SHRINKING,
        per_class=False,
    )
    return [proximal, pruning]  # the masks take the weights that shrank to zero first
