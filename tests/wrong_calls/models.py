"""Wrong calls of `kprune` with what is no model, or none that is ready; and of the rest in it."""

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
    "report: compression": wrong(
        lambda w: kprune.report(w.model).compression("no"), TypeError, "embeddings='no'"
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
    "recalibrate: dense=path": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, w.x, dense="dense.keras"),
        TypeError,
        "dense=dense",
    ),
    "recalibrate: dense=itself": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, w.x, dense=w.model),
        ValueError,
        "copy.deepcopy(model)",
    ),
    "recalibrate: dataset=": wrong(
        lambda w: kprune.recalibrate_batch_norm(w.model, dataset=w.x), TypeError, "Write data="
    ),
    "costs: path": wrong(lambda w: kprune.costs("model.keras"), TypeError, "'model.keras', a str"),
    "costs: precision": wrong(
        lambda w: kprune.costs(w.model, "int4"), ValueError, "'int4'", "float16"
    ),
    "costs: None": wrong(lambda w: kprune.costs(w.model, [None]), ValueError, "None", "float32"),
    "costs: a number": wrong(lambda w: kprune.costs(w.model, 8), ValueError, "precisions=8"),
    "costs: int8": wrong(lambda w: kprune.costs(w.model, "int8"), ValueError, "without data"),
    "costs: batch": wrong(
        lambda w: kprune.costs(w.model, batch_size=0), ValueError, "batch_size=0"
    ),
    "costs: threads": wrong(
        lambda w: kprune.costs(w.model, threads=1.5), ValueError, "threads=1.5"
    ),
    "costs: seconds": wrong(
        lambda w: kprune.costs(w.model, seconds="1"), ValueError, "seconds='1'"
    ),
    "costs: signature": wrong(
        lambda w: kprune.costs(w.model, input_signature=[(None, 12)]), TypeError, "keras.InputSpec"
    ),
    "costs: layer": wrong(lambda w: kprune.costs(w.model.layers[0]), TypeError, "Model"),
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
