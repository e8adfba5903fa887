"""Wrong calls of `wrap`, `prune`, `step` and `Pruned`."""

import keras
import numpy as np

import kprune
from wrong_calls import wrong

Dense = keras.layers.Dense
Constant = kprune.schedules.Constant

# What comes in place of a sparsity, and the sparsity in the line to write.
NO_SPARSITIES = {
    "90": (90, "0.9"),
    "50": (50, "0.5"),
    "1": (1, "0.9"),
    "1.0": (1.0, "0.9"),
    "-0.5": (-0.5, "0.9"),
    "nan": (float("nan"), "0.9"),
    "inf": (float("inf"), "0.9"),
    "'0.8'": ("0.8", "0.8"),
    "'80%'": ("80%", "0.8"),
    "'high'": ("high", "0.9"),
    "None": (None, "0.9"),
    "True": (True, "0.9"),
    "[0.5]": ([0.5], "0.9"),
    "array": (np.array([0.5, 0.5]), "0.9"),
    "np.nan": (np.float32("nan"), "0.9"),
    "np.90": (np.int64(90), "0.9"),
    "complex": (0.5j, "0.9"),
}
SPARSITIES = {
    f"prune({name})": wrong(
        lambda w, value=value: kprune.prune(w.model, value),
        ValueError,
        "sparsity=",
        f"Write sparsity={line}",
    )
    for name, (value, line) in NO_SPARSITIES.items()
}
PRUNE = {
    "mapping: empty": wrong(lambda w: kprune.prune(w.model, {}), ValueError, "sparsity={}"),
    "mapping: percent": wrong(
        lambda w: kprune.prune(w.model, {"plain/hidden": 90}),
        ValueError,
        "sparsity['plain/hidden']=90",
        "0.9",
    ),
    "mapping: unknown class": wrong(
        lambda w: kprune.prune(w.model, {"hiden": 0.5}), ValueError, "'hiden'", '"plain/hidden"'
    ),
    "mapping: not a name": wrong(
        lambda w: kprune.prune(w.model, {0: 0.5}), TypeError, "{0: 0.5}", "mapping from the name"
    ),
    "mapping: beside an allocation": wrong(
        lambda w: kprune.prune(w.model, {"plain/hidden": 0.5}, allocation="erk"),
        ValueError,
        "ERK()",
    ),
    "schedule": wrong(
        lambda w: kprune.prune(w.model, Constant(0.5)), TypeError, "Constant(", "callbacks.Pruning"
    ),
    "criterion: of torch": wrong(
        lambda w: kprune.prune(w.model, 0.5, "l1"), ValueError, "'l1'", 'criterion="magnitude"'
    ),
    "criterion: misspelt": wrong(
        lambda w: kprune.prune(w.model, 0.5, "magnitud"), ValueError, 'criterion="magnitude"'
    ),
    "criterion: class": wrong(
        lambda w: kprune.prune(w.model, 0.5, kprune.criteria.OBS),
        TypeError,
        "the class OBS",
        "kprune.criteria.OBS()",
    ),
    "criterion: None": wrong(
        lambda w: kprune.prune(w.model, 0.5, None), TypeError, "criterion=None", '"magnitude"'
    ),
    "criterion: data": wrong(
        lambda w: kprune.prune(w.model, 0.5, w.x), TypeError, "an array of shape (32, 12)"
    ),
    "criterion: number": wrong(lambda w: kprune.prune(w.model, 0.5, 1), TypeError, "criterion=1"),
    "criterion: function": wrong(
        lambda w: kprune.prune(w.model, 0.5, np.abs), TypeError, "criterion=<ufunc 'absolute'>"
    ),
    "allocation: uniform": wrong(
        lambda w: kprune.prune(w.model, 0.5, allocation="uniform"),
        ValueError,
        "'uniform'",
        'allocation="class_uniform"',
    ),
    "allocation: global": wrong(
        lambda w: kprune.prune(w.model, 0.5, allocation="global"),
        ValueError,
        "'global'",
        'allocation="class_blind"',
    ),
    "allocation: class": wrong(
        lambda w: kprune.prune(w.model, 0.5, allocation=kprune.allocations.ERK),
        TypeError,
        "the class ERK",
        "kprune.allocations.ERK()",
    ),
    "allocation: a criterion": wrong(
        lambda w: kprune.prune(w.model, 0.5, allocation=kprune.criteria.Magnitude()),
        TypeError,
        "allocation=Magnitude()",
        '"class_blind"',
    ),
    "allocation: None": wrong(
        lambda w: kprune.prune(w.model, 0.5, allocation=None), TypeError, "allocation=None"
    ),
    "refit: misspelt": wrong(
        lambda w: kprune.prune(w.model, 0.5, refit="least_square"), ValueError, '"least_squares"'
    ),
    "refit: True": wrong(lambda w: kprune.prune(w.model, 0.5, refit=True), TypeError, "refit=True"),
    "refit: class": wrong(
        lambda w: kprune.prune(w.model, 0.5, refit=kprune.refits.LeastSquares),
        TypeError,
        "kprune.refits.LeastSquares()",
    ),
    "refit: without data": wrong(
        lambda w: kprune.prune(w.model, 0.5, refit="least_squares"), ValueError, "LeastSquares(x)"
    ),
    "pattern": wrong(
        lambda w: kprune.prune(w.model, 0.5, pattern="2:4"),
        TypeError,
        "pattern='2:4'",
        "kprune.wrap(model, pattern='2:4')",
    ),
    "include": wrong(
        lambda w: kprune.prune(w.model, 0.5, include="hidden"),
        TypeError,
        "kprune.wrap(model, include=",
    ),
    "data": wrong(
        lambda w: kprune.prune(w.model, 0.5, "obs", data=w.x),
        TypeError,
        "kprune.criteria.OBS(data)",
    ),
    "amount": wrong(lambda w: kprune.prune(w.model, amount=0.5), TypeError, "Write sparsity=0.5"),
    "method": wrong(
        lambda w: kprune.prune(w.model, 0.5, method="obs"), TypeError, "Write criterion='obs'"
    ),
    "no sparsity": wrong(
        lambda w: kprune.prune(w.model), TypeError, "sparsity", "prune(model, 0.9)"
    ),
    "sparsity twice": wrong(
        lambda w: kprune.prune(w.model, 0.5, sparsity=0.5), TypeError, "gives sparsity twice"
    ),
    "too many": wrong(
        lambda w: kprune.prune(w.model, 0.5, "magnitude", "erk", None, 1), TypeError, "too many"
    ),
    "movement, untrained": wrong(
        lambda w: kprune.prune(w.model, 0.5, "movement"), ValueError, '"movement"', "accumulating"
    ),
    "a layer without masks": wrong(lambda w: kprune.prune(w.layer, 0.5), ValueError, "layer"),
}
STEP = {
    "1.5": wrong(lambda w: kprune.step(w.wrapped, Constant(0.5), 1.5), TypeError, "step=1.5"),
    "-3": wrong(lambda w: kprune.step(w.wrapped, Constant(0.5), -3), ValueError, "step=-3"),
    "'10'": wrong(lambda w: kprune.step(w.wrapped, Constant(0.5), "10"), TypeError, "step='10'"),
    "None": wrong(lambda w: kprune.step(w.wrapped, Constant(0.5), None), TypeError, "step=None"),
    "True": wrong(lambda w: kprune.step(w.wrapped, Constant(0.5), True), TypeError, "step=True"),
    "nan": wrong(
        lambda w: kprune.step(w.wrapped, Constant(0.5), float("nan")), TypeError, "step=nan"
    ),
    "optimizer": wrong(
        lambda w: kprune.step(w.wrapped, Constant(0.5), w.wrapped.optimizer),
        TypeError,
        "step=",
        "optimizer.iterations",
    ),
    "missing": wrong(
        lambda w: kprune.step(w.wrapped, Constant(0.5)), TypeError, "optimizer.iterations"
    ),
    "fractions": wrong(
        lambda w: kprune.step(w.wrapped, kprune.schedules.PolynomialDecay(0.0, 0.9, 0.0, 0.5), 1),
        ValueError,
        "schedule.resolve(steps)",
    ),
    "sparsity for a schedule": wrong(
        lambda w: kprune.step(w.wrapped, 0.5, 1),
        TypeError,
        "schedule=0.5",
        "PolynomialDecay(0.0, 0.5)",
    ),
    "schedule: class": wrong(
        lambda w: kprune.step(w.wrapped, Constant, 1), TypeError, "the class Constant"
    ),
    "criterion": wrong(
        lambda w: kprune.step(w.dense, Constant(0.5, 100), 1, "l1"), ValueError, '"magnitude"'
    ),
    "last": wrong(
        lambda w: kprune.step(w.dense, Constant(0.5, 100), 1, last="yes"), TypeError, "last='yes'"
    ),
}
WRAP = {
    "include: no regex": wrong(lambda w: kprune.wrap(w.model, "("), ValueError, "'('", r"'\\('"),
    "include: number": wrong(lambda w: kprune.wrap(w.model, include=0), TypeError, "include=0"),
    "include: bytes": wrong(lambda w: kprune.wrap(w.model, include=b"a"), TypeError, "b'a'"),
    "include: nothing": wrong(
        lambda w: kprune.wrap(w.model, include="conv"), ValueError, "'conv'", "plain/hidden/kernel"
    ),
    "include: another's layer": wrong(
        lambda w: kprune.wrap(w.model, include=w.layer), ValueError, "matches nothing"
    ),
    "include: class": wrong(
        lambda w: kprune.wrap(w.model, include=keras.layers.Conv2D), ValueError, "Conv2D"
    ),
    "include: empty list": wrong(
        lambda w: kprune.wrap(w.model, include=[]), ValueError, "include=[]"
    ),
    "exclude: no regex": wrong(lambda w: kprune.wrap(w.model, exclude="*"), ValueError, "'*'"),
    "exclude: nothing": wrong(
        lambda w: kprune.wrap(w.model, exclude="head"), ValueError, "exclude='head'"
    ),
    "exclude: everything": wrong(
        lambda w: kprune.wrap(w.model, exclude="."), ValueError, "has no kernel"
    ),
    "include: of two": wrong(
        lambda w: kprune.wrap(w.model, include=lambda layer, name: True), TypeError, "'name'"
    ),
    "include: list": wrong(
        lambda w: kprune.wrap(w.model, include=["hidden", None]), TypeError, "include=None"
    ),
    "classes: of nothing": wrong(
        lambda w: kprune.wrap(w.model, classes=lambda: "all"), TypeError, "lambda location"
    ),
    "classes: word": wrong(
        lambda w: kprune.wrap(w.model, classes="layers"), ValueError, "'layers'", 'classes="layer"'
    ),
    "classes: None": wrong(
        lambda w: kprune.wrap(w.model, classes=None), ValueError, "classes=None"
    ),
    "classes: number": wrong(lambda w: kprune.wrap(w.model, classes=3), ValueError, "classes=3"),
    "classes: no regex": wrong(
        lambda w: kprune.wrap(w.model, classes={"all": "["}), ValueError, "classes['all']='['"
    ),
    "classes: no strings": wrong(
        lambda w: kprune.wrap(w.model, classes={"all": w.layer}), TypeError, "classes['all']"
    ),
    "pattern: 4x1": wrong(
        lambda w: kprune.wrap(w.model, pattern="4x1"),
        ValueError,
        "'4x1'",
        "kprune.patterns.Block((4, 1))",
    ),
    "pattern: 2-4": wrong(
        lambda w: kprune.wrap(w.model, pattern="2-4"), ValueError, "'2-4'", "2:4"
    ),
    "pattern: 4:2": wrong(lambda w: kprune.wrap(w.model, pattern="4:2"), ValueError, "n=4, m=2"),
    "pattern: structured": wrong(
        lambda w: kprune.wrap(w.model, pattern="structured"), ValueError, 'pattern="channel"'
    ),
    "pattern: class": wrong(
        lambda w: kprune.wrap(w.model, pattern=kprune.patterns.Channel),
        TypeError,
        "kprune.patterns.Channel()",
    ),
    "pattern: tuple": wrong(
        lambda w: kprune.wrap(w.model, pattern=(4, 1)), TypeError, "pattern=(4, 1)"
    ),
    "pattern: another": wrong(
        lambda w: kprune.wrap(w.wrapped, pattern="2:4"), ValueError, "NM(n=2, m=4)", "kprune.strip"
    ),
    "floor": wrong(lambda w: kprune.wrap(w.model, floor=0.5), ValueError, "floor=0.5"),
    "floor: negative": wrong(lambda w: kprune.wrap(w.model, floor=-1), ValueError, "floor=-1"),
    "floor: channels": wrong(
        lambda w: kprune.wrap(w.model, pattern="channel", floor=1), ValueError, "Channel("
    ),
    "floor: layer": wrong(
        lambda w: kprune.wrap(w.layer, floor=1), ValueError, "kprune.wrap(model, floor="
    ),
    "sparsity": wrong(
        lambda w: kprune.wrap(w.model, sparsity=0.5), TypeError, "kprune.prune(model, sparsity=0.5)"
    ),
    "schedule": wrong(
        lambda w: kprune.wrap(w.model, pruning_schedule=Constant(0.5)),
        TypeError,
        "pruning_schedule",
    ),
    "criterion": wrong(
        lambda w: kprune.wrap(w.model, criterion="obs"), TypeError, "criterion='obs'"
    ),
    "layers": wrong(lambda w: kprune.wrap(w.model, layers="hidden"), TypeError, "include='hidden'"),
    "Dropout": wrong(
        lambda w: kprune.wrap(keras.layers.Dropout(0.5, name="drop")), ValueError, "drop", "kernel"
    ),
    "Pruned(Dropout)": wrong(
        lambda w: kprune.Pruned(keras.layers.ReLU(name="flat")), ValueError, "flat", "kernel"
    ),
    "layer with include": wrong(
        lambda w: kprune.wrap(w.layer, include="kernel"), ValueError, "include='kernel'"
    ),
    "Pruned pattern": wrong(
        lambda w: kprune.Pruned(w.layer, pattern="1x4"), ValueError, "Block((1, 4))"
    ),
    "Pruned keyword": wrong(
        lambda w: kprune.Pruned(w.layer, patern="2:4"), TypeError, "Write pattern='2:4'"
    ),
}
