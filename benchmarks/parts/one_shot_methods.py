"""Lists the methods that prune at once, with their arguments, for each network that is measured."""

from typing import Any

import numpy as np

import kprune

Array = np.ndarray[Any, Any]

STEPS = 16  # parts of a mask update by a model of the loss, which is good only nearby
DEFAULTS = {  # sparsities, calibration samples, and how many of them a model of the loss is made of
    "digits": (["0.8", "0.9"], 1437, 1437),
    "lenet_300_100": (["0.8", "0.9", "0.95"], 2000, 500),
    "lenet_5": (["0.8", "0.9", "0.95"], 2000, 500),
    "resnet20": (["0.5", "0.7", "0.8", "0.9"], 1024, 256),
}
OF_FEW = ("OBS block", "OBS full")


def build_methods(x: Array, y: Array, few: int, seed: int) -> dict[str, dict[str, Any]]:
    """Returns the arguments of `kprune.prune` for each method.

    Args:
        x: calibration samples.
        y: their labels.
        few: how many of them a model of the loss is made of.
        seed: of random scores.
    """
    criteria, fit = kprune.criteria, kprune.refits.LeastSquares(x)
    loss: dict[str, Any] = {"data": (x[:few], y[:few]), "recomputations": STEPS}
    uniform = {"allocation": "class_uniform"}
    found: dict[str, dict[str, Any]] = {
        "random": {"criterion": criteria.Random(seed)},
        "magnitude": {"criterion": "magnitude"},
        "magnitude uniform": {"criterion": "magnitude", **uniform},
        "magnitude erk": {"criterion": "magnitude", "allocation": "erk"},
        "magnitude + LS": {"criterion": "magnitude", "refit": fit},
        "magnitude erk + LS": {"criterion": "magnitude", "allocation": "erk", "refit": fit},
        **{
            f"OBD {name}": {"criterion": criteria.OBD((x[:few], y[:few]), name)}
            for name in kprune.criteria.ESTIMATORS
        },
        "OBD in parts": {"criterion": criteria.OBD(**loss)},
        "Wanda": {"criterion": criteria.Wanda(x)},
        "Wanda + LS": {"criterion": criteria.Wanda(x), "refit": "least_squares"},
        "SparseGPT": {"criterion": criteria.SparseGPT(x)},
        "SparseGPT + LS": {"criterion": criteria.SparseGPT(x), "refit": "least_squares"},
        "ExactOBS uniform": {"criterion": criteria.OBS(x), **uniform},
        "ExactOBS": {"criterion": criteria.OBS(x)},
        "ExactOBS sequential": {"criterion": criteria.OBS(x, sequential=True)},
        "OBS block": {"criterion": criteria.OBS(hessian="block", **loss)},
        "OBS full": {"criterion": criteria.OBS(hessian="full", **loss)},
    }
    return found


NAMES = list(build_methods(np.zeros(1), np.zeros(1), 1, 0))
# Exact diagonals of many weights take hours, as models of the loss of so many samples do, sixteen
# times for each sparsity; ResNet-20 is no chain of layers.
INFEASIBLE = {
    "digits": set(),
    "lenet_300_100": {"OBD exact", *OF_FEW},
    "lenet_5": {"OBD exact", *OF_FEW},
    "resnet20": {"OBD exact", "OBD backward"},
}
