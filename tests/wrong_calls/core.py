"""Wrong calls of wrap, prune, step, report, strip and what else is in `kprune` itself."""

import keras
import numpy as np

import kprune
from wrong_calls import wrong

Dense = keras.layers.Dense
Constant = kprune.schedules.Constant

# What comes in place of a model, and what of it is in the message.
NO_MODELS = {
    "none": (lambda w: None, "None"),
    "path": (lambda w: "m.keras", "keras.saving.load_model('m.keras')"),
    "class": (lambda w: Dense, "the class Dense"),
    "number": (lambda w: 5, "5, an int"),
    "list": (lambda w: [w.model], "a list"),
    "array": (lambda w: w.x, "an array of shape (32, 12)"),
    "report": (lambda w: kprune.report(w.model), "on a line of its own"),
}
# Functions of a model, called with what is none.
FUNCTIONS = {
    "wrap": kprune.wrap,
    "prune": lambda model: kprune.prune(model, 0.5),
    "step": lambda model: kprune.step(model, Constant(0.5), 1),
    "report": kprune.report,
    "strip": kprune.strip,
    "project": kprune.project,
    "masked_weights": kprune.masked_weights,
    "recalibrate": lambda model: kprune.recalibrate_batch_norm(model, np.zeros((4, 12))),
    "thresholds.of": lambda model: kprune.thresholds.of(model, 1.0),
    "thresholds.targets": lambda model: kprune.thresholds.targets(model, {"plain/hidden": 0.1}),
    "share_weights": kprune.training.share_weights,
    "clusters": kprune.training.clusters,
    "Snapshot": kprune.training.Snapshot,
    "proximal_strength": lambda model: kprune.training.proximal_strength(model, 0.5, 100),
    "stripped": lambda model: kprune.stripped(model).__enter__(),
    "accumulating": lambda model: kprune.training.accumulating(model, "movement").__enter__(),
    "regularized": lambda model: kprune.training.regularized(model, "l2").__enter__(),
    "sharing": lambda model: kprune.training.sharing(model).__enter__(),
    "fake_quantized": lambda model: kprune.training.fake_quantized(model).__enter__(),
}
MODELS = {
    f"{name}({kind})": wrong(
        lambda w, function=function, make=make: function(make(w)), TypeError, words
    )
    for name, function in FUNCTIONS.items()
    for kind, (make, words) in NO_MODELS.items()
}
UNBUILT = {
    f"{name}(unbuilt)": wrong(
        lambda w, function=function: function(w.unbuilt),
        ValueError,
        "unbuilt is not built",
        "model(x)",
    )
    for name, function in FUNCTIONS.items()
    # These say the truth of a model without weights, or wait until it is built.
    if name not in ("strip", "project", "masked_weights", "stripped")
}
NOT_WRAPPED = {
    f"{name}(not wrapped)": wrong(
        lambda w, function=function: function(w.model), ValueError, "plain", "kprune.wrap(model)"
    )
    for name, function in FUNCTIONS.items()
    if name
    in (
        "step",
        "share_weights",
        "clusters",
        "Snapshot",
        "proximal_strength",
        "accumulating",
        "regularized",
        "sharing",
        "thresholds.of",
        "thresholds.targets",
    )
}
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
REPORTS = {
    name: wrong(
        lambda w, name=name: getattr(kprune.prune(w.wrapped, 0.5), name),
        AttributeError,
        repr(name),
        "line of its own",
    )
    for name in ("save", "fit", "predict", "summary", "layers", "compile", "export", "weights")
}
QUANTIZED = {
    "report": wrong(
        lambda w: kprune.report(w.quantized),
        ValueError,
        "hidden of quantized",
        "kprune.strip(model)",
    ),
}
OTHERS = {
    "Pruned: path": wrong(lambda w: kprune.Pruned("m.keras"), TypeError, "'m.keras', a str"),
    "Pruned: class": wrong(lambda w: kprune.Pruned(Dense), TypeError, "the class Dense"),
    "Pruned: number": wrong(lambda w: kprune.Pruned(300), TypeError, "300, an int", "Dense(300)"),
    "report: keyword": wrong(
        lambda w: kprune.report(w.model, verbose=True), TypeError, "verbose=True", "report(model)"
    ),
    "report: nothing": wrong(lambda w: kprune.report(), TypeError, "lacks model"),
    "recalibrate: path": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, "x.npy"), TypeError, "'x.npy', a str"
    ),
    "recalibrate: y": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, w.x, w.y), ValueError, "shape (32,)"
    ),
    "recalibrate: None": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, None), ValueError, "data=None"
    ),
    "recalibrate: shape": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, w.x[:, :5]), ValueError, "(32, 5)", "12"
    ),
    "recalibrate: nan": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, w.x * np.nan), ValueError, "NaN"
    ),
    "recalibrate: batch": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, w.x, 0), ValueError, "batch_size=0"
    ),
    "recalibrate: dataset=": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, dataset=w.x), TypeError, "Write data="
    ),
    "thresholds: quality": wrong(
        lambda w: kprune.thresholds.of(w.wrapped, -1), ValueError, "quality=-1"
    ),
    "thresholds: quality, text": wrong(
        lambda w: kprune.thresholds.of(w.wrapped, "1"), ValueError, "quality='1'"
    ),
    "thresholds: quality, nan": wrong(
        lambda w: kprune.thresholds.of(w.wrapped, float("nan")), ValueError, "quality=nan"
    ),
    "targets: number": wrong(
        lambda w: kprune.thresholds.targets(w.wrapped, 0.1), TypeError, "thresholds=0.1"
    ),
    "targets: empty": wrong(
        lambda w: kprune.thresholds.targets(w.wrapped, {}), TypeError, "thresholds={}"
    ),
    "targets: class": wrong(
        lambda w: kprune.thresholds.targets(w.wrapped, {"head": 0.1}), ValueError, "'head'"
    ),
    "targets: text": wrong(
        lambda w: kprune.thresholds.targets(w.wrapped, {"wrapped/hidden": "low"}),
        ValueError,
        "'low'",
    ),
    "targets: all": wrong(
        lambda w: kprune.thresholds.targets(w.wrapped, {"wrapped/hidden": 99.0}), ValueError, "99"
    ),
}
