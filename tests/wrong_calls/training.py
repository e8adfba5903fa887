"""Wrong calls of `kprune.training` and of the callbacks, made and in a fit."""

import keras
import numpy as np

import kprune
from wrong_calls import wrong

T, CB, S = kprune.training, kprune.callbacks, kprune.schedules

SHARING = {
    "bits: 5.9": wrong(lambda w: T.share_weights(w.wrapped, 5.9), ValueError, "bits=5.9", "bits=5"),
    "bits: '5'": wrong(lambda w: T.share_weights(w.wrapped, "5"), ValueError, "bits='5'"),
    "bits: 0": wrong(lambda w: T.share_weights(w.wrapped, 0), ValueError, "bits=0"),
    "bits: 32": wrong(lambda w: T.share_weights(w.wrapped, 32), ValueError, "bits=32", "1 to 12"),
    "bits: None": wrong(lambda w: T.share_weights(w.wrapped, None), ValueError, "bits=None"),
    "bits: True": wrong(lambda w: T.share_weights(w.wrapped, True), ValueError, "bits=True"),
    "bits: list": wrong(lambda w: T.share_weights(w.wrapped, [5, 5]), ValueError, "bits=[5, 5]"),
    "bits: mapping": wrong(
        lambda w: T.share_weights(w.wrapped, {"hidden": 5}),
        ValueError,
        "'hidden'",
        "wrapped/hidden",
    ),
    "bits: function": wrong(
        lambda w: T.share_weights(w.wrapped, lambda weight: None), ValueError, "bits=None"
    ),
    "num_bits=": wrong(lambda w: T.share_weights(w.wrapped, num_bits=5), TypeError, "Write bits=5"),
    "initialization": wrong(
        lambda w: T.share_weights(w.wrapped, 5, "linea"), ValueError, "'linea'", '"linear"'
    ),
    "initialization: kmeans": wrong(
        lambda w: T.share_weights(w.wrapped, 5, "kmeans++"), ValueError, "'kmeans++'"
    ),
    "seed": wrong(lambda w: T.share_weights(w.wrapped, seed=-1), ValueError, "seed=-1"),
    "clusters: not shared": wrong(
        lambda w: T.clusters(w.wrapped), ValueError, "wrapped", "share_weights(model, bits=5)"
    ),
    "join: codes": wrong(lambda w: T.join_clusters([1, 2]), TypeError, "[1, 2]", "clusters(model)"),
    "join: model": wrong(lambda w: T.join_clusters(w.wrapped), TypeError, "clusters(model)"),
    "sharing: not shared": wrong(
        lambda w: T.sharing(w.wrapped).__enter__(), ValueError, "share_weights"
    ),
    "codebooks: clusters": wrong(
        lambda w: T.codebooks.fit(w.x, 0), ValueError, "clusters=0", "clusters=32"
    ),
    "codebooks: clusters, float": wrong(
        lambda w: T.codebooks.fit(w.x, 2.5), ValueError, "clusters=2.5"
    ),
    "codebooks: nan": wrong(lambda w: T.codebooks.fit(w.x + np.nan, 4), ValueError, "NaN"),
    "codebooks: text": wrong(lambda w: T.codebooks.fit("weights", 4), TypeError, "'weights'"),
    "codebooks: assign": wrong(lambda w: T.codebooks.assign("a", [0.0]), TypeError, "'a'"),
    "codebooks: ratio": wrong(lambda w: T.codebooks.ratio(100, 0), ValueError, "clusters=0"),
}
PROXIMAL = {
    "sparsity": wrong(lambda w: T.proximal_strength(w.wrapped, 80, 100), ValueError, "80", "0.8"),
    "steps": wrong(lambda w: T.proximal_strength(w.wrapped, 0.8, 0), ValueError, "steps=0"),
    "steps: float": wrong(lambda w: T.proximal_strength(w.wrapped, 0.8, 0.5), ValueError, "0.5"),
    "steps: missing": wrong(
        lambda w: T.proximal_strength(w.wrapped, 0.8), TypeError, "lacks steps", "0.9, 1000)"
    ),
    "epsilon": wrong(lambda w: T.proximal_strength(w.wrapped, 0.8, 10, 0), ValueError, "epsilon=0"),
    "callback: text": wrong(lambda w: CB.ReweightedProximal("x"), ValueError, "strength='x'"),
    "callback: zero": wrong(lambda w: CB.ReweightedProximal(0), ValueError, "strength=0"),
    "callback: nan": wrong(lambda w: CB.ReweightedProximal(float("nan")), ValueError, "=nan"),
    "callback: nothing": wrong(
        lambda w: CB.ReweightedProximal(), TypeError, "lacks strength", "ReweightedProximal(0.1)"
    ),
    "callback: epsilon": wrong(lambda w: CB.ReweightedProximal(0.1, -1), ValueError, "epsilon=-1"),
    "callback: end": wrong(
        lambda w: CB.ReweightedProximal(0.1, end_step=2.0), ValueError, "end_step=2.0"
    ),
    "callback: sparsity": wrong(
        lambda w: CB.ReweightedProximal(0.1, sparsity=0.9), TypeError, "prune(model, sparsity=0.9)"
    ),
    "callback: per_class": wrong(
        lambda w: CB.ReweightedProximal(0.1, per_class="no"), TypeError, "per_class='no'"
    ),
}
REGULARIZATION = {
    "name": wrong(lambda w: CB.Regularization("l3"), ValueError, "'l3'", '"l2"'),
    "None": wrong(lambda w: CB.Regularization(None), TypeError, "regularizer=None"),
    "number": wrong(lambda w: CB.Regularization(1e-4), TypeError, "0.0001", "L2(1e-4)"),
    "class": wrong(lambda w: CB.Regularization(keras.regularizers.L2), TypeError, "class L2"),
    "nothing": wrong(lambda w: CB.Regularization(), TypeError, "lacks regularizer"),
    "regularized: name": wrong(
        lambda w: T.regularized(w.wrapped, "l3").__enter__(), ValueError, "'l3'"
    ),
    "regularized: class": wrong(
        lambda w: T.regularized(w.wrapped, keras.regularizers.L1).__enter__(), TypeError, "class L1"
    ),
}
OTHERS = {
    "accumulating: criterion": wrong(
        lambda w: T.accumulating(w.wrapped, "movment").__enter__(), ValueError, '"movement"'
    ),
    "accumulating: uncompiled": wrong(
        lambda w: T.accumulating(kprune.wrap(_uncompiled()), "movement").__enter__(),
        ValueError,
        "has no optimizer",
        'model.compile("adam"',
    ),
    "accumulating: optimizer": wrong(
        lambda w: T.accumulating(w.wrapped, "movement", "adam").__enter__(), TypeError, "'adam'"
    ),
    "recipe: epochs": wrong(lambda w: T.Recipe(0, 0.1), ValueError, "epochs=0"),
    "recipe: epochs, float": wrong(lambda w: T.Recipe(2.5, 0.1), ValueError, "epochs=2.5"),
    "recipe: rate": wrong(lambda w: T.Recipe(4, -0.1), ValueError, "learning_rate=-0.1"),
    "recipe: rate, text": wrong(lambda w: T.Recipe(4, "0.1"), ValueError, "learning_rate='0.1'"),
    "recipe: nothing": wrong(
        lambda w: T.Recipe(4), TypeError, "lacks learning_rate", "Recipe(4, 0.5)"
    ),
    "recipe: lowered": wrong(lambda w: T.Recipe(4, 0.1).lowered(0), ValueError, "epochs=0"),
    "recipe: schedule": wrong(
        lambda w: T.Recipe(4, 0.1).schedule(0), ValueError, "steps_per_epoch=0"
    ),
    "snapshot: nothing": wrong(lambda w: T.Snapshot(), TypeError, "Snapshot(model)"),
}
CALLBACKS = {
    "pruning: nothing": wrong(lambda w: CB.Pruning(), TypeError, "lacks schedule"),
    "pruning: sparsity": wrong(lambda w: CB.Pruning(0.9), TypeError, "schedule=0.9", "(0.0, 0.9)"),
    "pruning: class": wrong(lambda w: CB.Pruning(S.Constant), TypeError, "the class Constant"),
    "pruning: name": wrong(lambda w: CB.Pruning("polynomal"), ValueError, "polynomial_decay"),
    "pruning: model": wrong(lambda w: CB.Pruning(w.wrapped), TypeError, "schedule="),
    "pruning: criterion": wrong(lambda w: CB.Pruning("constant", "l2"), ValueError, '"magnitude"'),
    "pruning: criterion, class": wrong(
        lambda w: CB.Pruning("constant", kprune.criteria.Movement), TypeError, "Movement()"
    ),
    "pruning: allocation": wrong(
        lambda w: CB.Pruning("constant", allocation="global"), ValueError, '"class_blind"'
    ),
    "pruning: refit": wrong(lambda w: CB.Pruning("constant", refit=True), TypeError, "refit=True"),
    "pruning: per_class": wrong(
        lambda w: CB.Pruning("constant", per_class=None), TypeError, "per_class=None"
    ),
    "pruning: pattern=": wrong(
        lambda w: CB.Pruning("constant", pattern="2:4"),
        TypeError,
        "kprune.wrap(model, pattern='2:4')",
    ),
    "pruning: pruning_schedule=": wrong(
        lambda w: CB.Pruning(pruning_schedule="constant"), TypeError, "schedule='constant'"
    ),
    "pruning: begin_step=": wrong(
        lambda w: CB.Pruning("constant", begin_step=10), TypeError, "begin_step=10)"
    ),
    "thresholds: nothing": wrong(lambda w: CB.ThresholdPruning(), TypeError, "(1.0)"),
    "thresholds: zero": wrong(lambda w: CB.ThresholdPruning(0), ValueError, "quality=0"),
    "thresholds: text": wrong(lambda w: CB.ThresholdPruning("high"), ValueError, "'high'"),
    "thresholds: empty": wrong(lambda w: CB.ThresholdPruning({}), TypeError, "{}"),
    "thresholds: mapping": wrong(
        lambda w: CB.ThresholdPruning({"a": "b"}), ValueError, "thresholds['a']='b'"
    ),
    "thresholds: fixed": wrong(lambda w: CB.ThresholdPruning(1.0, fixed="yes"), TypeError, "'yes'"),
    "thresholds: frequency": wrong(
        lambda w: CB.ThresholdPruning(1.0, frequency=0), ValueError, "frequency=0"
    ),
    "rewinding: nothing": wrong(lambda w: CB.Rewinding(), TypeError, "lacks step"),
    "rewinding: text": wrong(lambda w: CB.Rewinding("2"), TypeError, "='2'"),
    "rewinding: negative": wrong(lambda w: CB.Rewinding(-1), ValueError, "=-1"),
    "rewinding: too early": wrong(lambda w: CB.Rewinding(5).rewind(), ValueError, "step=5"),
    "dropout: number": wrong(
        lambda w: CB.DropoutRatioAdjustment(0.5), TypeError, "feeds=0.5", '{"dropout": "dense"}'
    ),
    "dropout: regex": wrong(
        lambda w: CB.DropoutRatioAdjustment({"dropout": "("}), ValueError, "feeds['dropout']='('"
    ),
    "dropout: layer": wrong(
        lambda w: CB.DropoutRatioAdjustment({"dropout": w.layer}), TypeError, "feeds['dropout']="
    ),
    "sharing: bits": wrong(
        lambda w: CB.WeightSharing(bits=5), TypeError, "share_weights(model, bits=5)"
    ),
    "sharing: argument": wrong(lambda w: CB.WeightSharing(5), TypeError, "WeightSharing(5)"),
}
BACKUPS = {
    "backup: nothing": wrong(lambda w: CB.Backup(), TypeError, "lacks directory"),
    "backup: model": wrong(lambda w: CB.Backup(w.wrapped), TypeError, "path=", 'Backup("'),
    "backup: empty": wrong(lambda w: CB.Backup(""), ValueError, "path=''"),
    "backup: keep": wrong(lambda w: CB.Backup("a", keep="all"), TypeError, "keep='all'"),
    "best: monitor": wrong(lambda w: CB.BestEpoch(None), TypeError, "monitor=None", "val_loss"),
    "best: unknown": wrong(lambda w: CB.BestEpoch("val_f"), ValueError, "'val_f'", 'mode="max"'),
    "best: mode": wrong(lambda w: CB.BestEpoch(mode="maximum"), ValueError, "'maximum'"),
    "best: sparsity": wrong(lambda w: CB.BestEpoch(sparsity=90), ValueError, "=90", "0.9"),
    "best: metric=": wrong(
        lambda w: CB.BestEpoch(metric="val_loss"), TypeError, "metric='val_loss'"
    ),
}
IN_FIT = {
    f"{type(callback()).__name__} of a plain model": wrong(
        lambda w, callback=callback: w.model.fit(w.x, w.y, verbose=0, callbacks=[callback()]),
        ValueError,
        "plain has no masks",
        "kprune.wrap(model)",
    )
    for callback in (
        lambda: CB.Pruning(S.Constant(0.5)),
        lambda: CB.ThresholdPruning(1.0),
        lambda: CB.ReweightedProximal(0.1),
        lambda: CB.Regularization("l2"),
        lambda: CB.Rewinding(1),
        lambda: CB.DropoutRatioAdjustment(),
        lambda: CB.WeightSharing(),
    )
} | {
    "sharing: not shared": wrong(lambda w: w.fit(CB.WeightSharing()), ValueError, "share_weights("),
    "dropout: unknown layer": wrong(
        lambda w: w.fit(CB.DropoutRatioAdjustment({"drop": "hidden"})),
        ValueError,
        "'drop'",
        "'dropout'",
    ),
    "dropout: no weight": wrong(
        lambda w: w.fit(CB.DropoutRatioAdjustment({"dropout": "conv"})), ValueError, "'conv'"
    ),
    "a class of callbacks": wrong(
        lambda w: w.fit(CB.DropoutRatioAdjustment(CB.Pruning)), TypeError, "the class Pruning"
    ),
}


def _uncompiled():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
