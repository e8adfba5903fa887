"""Wrong calls of schedules, patterns, allocations and refits."""

import keras
import numpy as np

import kprune
from wrong_calls import wrong

S, P, A, R = kprune.schedules, kprune.patterns, kprune.allocations, kprune.refits
Decay, Iterative = S.PolynomialDecay, S.Iterative

SCHEDULES = {
    "decay: one sparsity": wrong(
        lambda w: Decay(0.9), TypeError, "PolynomialDecay(0.9)", "(0.0, 0.9)"
    ),
    "decay: percent": wrong(lambda w: Decay(0, 90), ValueError, "final_sparsity=90", "0.9"),
    "decay: text": wrong(lambda w: Decay("0", 0.9), ValueError, "initial_sparsity='0'"),
    "decay: nan": wrong(lambda w: Decay(0.0, float("nan")), ValueError, "final_sparsity=nan"),
    "decay: None": wrong(lambda w: Decay(None, 0.9), ValueError, "initial_sparsity=None"),
    "decay: begin": wrong(lambda w: Decay(0.0, 0.9, 1.5), ValueError, "begin_step=1.5"),
    "decay: begin, text": wrong(lambda w: Decay(0.0, 0.9, "100"), TypeError, "begin_step='100'"),
    "decay: begin, negative": wrong(lambda w: Decay(0.0, 0.9, -5), ValueError, "begin_step=-5"),
    "decay: end, None": wrong(lambda w: Decay(0.0, 0.9, 0, None), TypeError, "end_step=None"),
    "decay: end first": wrong(
        lambda w: Decay(0.0, 0.9, 10, 5), ValueError, "end_step=5", "begin_step=5"
    ),
    "decay: frequency": wrong(lambda w: Decay(0.0, 0.9, frequency=0), ValueError, "frequency=0"),
    "decay: frequency, True": wrong(
        lambda w: Decay(0.0, 0.9, frequency=True), TypeError, "frequency=True"
    ),
    "decay: power": wrong(lambda w: Decay(0.0, 0.9, power=-1), ValueError, "power=-1", "power=3"),
    "decay: power, text": wrong(lambda w: Decay(0.0, 0.9, power="3"), ValueError, "power='3'"),
    "decay: power, nan": wrong(
        lambda w: Decay(0.0, 0.9, power=float("nan")), ValueError, "power=nan"
    ),
    "decay: target_sparsity": wrong(
        lambda w: Decay(0.0, target_sparsity=0.9), TypeError, "final_sparsity=0.9"
    ),
    "decay: start_step": wrong(
        lambda w: Decay(0.0, 0.9, start_step=10), TypeError, "begin_step=10"
    ),
    "decay: model": wrong(lambda w: Decay(w.model, 0.9), ValueError, "initial_sparsity="),
    "decay: too many": wrong(lambda w: Decay(0.0, 0.9, 0, 100, 3, 10, 1), TypeError, "too many"),
    "decay: called with fractions": wrong(
        lambda w: Decay(0.0, 0.9, 0.0, 0.5)(100), ValueError, "resolve(steps)(step)"
    ),
    "iterative: called with fractions": wrong(
        lambda w: Iterative(0.0, 0.9, 9, 0.1)(100), ValueError, "resolve(steps)(step)"
    ),
    "constant: nothing": wrong(lambda w: S.Constant(), TypeError, "Constant()", "Constant(0.9)"),
    "constant: 1": wrong(lambda w: S.Constant(1), ValueError, "final_sparsity=1;"),
    "constant: sparsity=": wrong(
        lambda w: S.Constant(sparsity=0.5), TypeError, "Write final_sparsity=0.5"
    ),
    "iterative: steps": wrong(lambda w: Iterative(0.0, 0.9, 0), ValueError, "steps=0"),
    "iterative: steps, 1.5": wrong(lambda w: Iterative(0.0, 0.9, 1.5), ValueError, "steps=1.5"),
    "iterative: steps, text": wrong(lambda w: Iterative(0.0, 0.9, "9"), ValueError, "steps='9'"),
    "iterative: frequency": wrong(lambda w: Iterative(0.0, 0.9, 9, -1), ValueError, "frequency=-1"),
    "function: number": wrong(lambda w: S.Function(0.5), TypeError, "function=0.5", "lambda step"),
    "function: class": wrong(lambda w: S.Function(S.Constant), TypeError, "the class Constant"),
    "function: of nothing": wrong(lambda w: S.Function(lambda: 0.5), TypeError, "lambda step"),
    "function: of two": wrong(lambda w: S.get(lambda epoch, lr: 0.5), TypeError, "'lr'"),
    "function: percent": wrong(
        lambda w: S.Function(lambda step: 50)(10), ValueError, "value at step 10=50"
    ),
    "function: None": wrong(
        lambda w: S.Function(lambda step: None)(10), ValueError, "value at step 10=None"
    ),
    "function: text": wrong(
        lambda w: S.Function(lambda step: "0.5")(10), ValueError, "value at step 10='0.5'"
    ),
    "interval: float": wrong(lambda w: S.Interval(0, 1.2), ValueError, "end_step=1.2"),
    "interval: text": wrong(lambda w: S.Interval("begin"), TypeError, "begin_step='begin'"),
    "resolve: text": wrong(
        lambda w: Decay(0.0, 0.9, 0.0).resolve("1000"), ValueError, "steps='1000'"
    ),
    "resolve: unknown": wrong(
        lambda w: Decay(0.0, 0.9, 0.0).resolve(None), ValueError, "steps_per_epoch"
    ),
    "get: misspelt": wrong(
        lambda w: S.get("polynomial"), ValueError, "'polynomial'", "polynomial_decay"
    ),
    "get: number": wrong(lambda w: S.get(0.8), TypeError, "schedule=0.8", "(0.0, 0.8)"),
    "get: percent": wrong(lambda w: S.get(80), TypeError, "schedule=80", "(0.0, 0.8)"),
    "get: None": wrong(lambda w: S.get(None), TypeError, "schedule=None"),
    "get: class": wrong(lambda w: S.get(Decay), TypeError, "the class PolynomialDecay"),
    "get: list": wrong(lambda w: S.get([0.1, 0.5]), TypeError, "[0.1, 0.5]"),
    "get: mapping": wrong(lambda w: S.get({"sparsity": 0.5}), TypeError, "{'sparsity': 0.5}"),
    "get: learning rate": wrong(lambda w: S.get(keras.optimizers.Adam()), TypeError, "schedule="),
}
PATTERNS = {
    "block: number": wrong(lambda w: P.Block(4), ValueError, "shape=4", "Block((4, 1))"),
    "block: two arguments": wrong(lambda w: P.Block(4, 1), ValueError, "shape=4", "Block((4, 1))"),
    "block: zero": wrong(lambda w: P.Block((0, 1)), ValueError, "(0, 1)"),
    "block: three": wrong(lambda w: P.Block((4, 1, 1)), ValueError, "(4, 1, 1)"),
    "block: float": wrong(lambda w: P.Block((4.0, 1)), ValueError, "(4.0, 1)"),
    "block: text": wrong(lambda w: P.Block("41"), ValueError, "'41'"),
    "block: True": wrong(lambda w: P.Block((True, 4)), ValueError, "(True, 4)"),
    "block: None": wrong(lambda w: P.Block(None), ValueError, "shape=None"),
    "block: pooling": wrong(lambda w: P.Block((4, 1), "average"), ValueError, "'average'"),
    "block: block_shape=": wrong(
        lambda w: P.Block(block_shape=(4, 1)), TypeError, "block_shape=(4, 1)", "shape="
    ),
    "block: nothing": wrong(lambda w: P.Block(), TypeError, "Block()", "Block((4, 1))"),
    "channel: pooling": wrong(lambda w: P.Channel("MAX"), ValueError, "'MAX'", '"max"'),
    "channel: number": wrong(lambda w: P.Channel(4), ValueError, "pooling=4"),
    "channel: list": wrong(lambda w: P.Channel(["mean"]), ValueError, "pooling=['mean']"),
    "channel: axis": wrong(lambda w: P.Channel(axis=0), TypeError, "axis=0"),
    "nm: reversed": wrong(lambda w: P.NM(4, 2), ValueError, "NM(n=4, m=2)", "NM(2, 4)"),
    "nm: equal": wrong(lambda w: P.NM(4, 4), ValueError, "NM(n=4, m=4)"),
    "nm: zero": wrong(lambda w: P.NM(0, 4), ValueError, "NM(n=0, m=4)"),
    "nm: float": wrong(lambda w: P.NM(2.0, 4), ValueError, "NM(n=2.0, m=4)"),
    "nm: text": wrong(lambda w: P.NM("2:4", 4), ValueError, "n='2:4'"),
    "nm: one": wrong(lambda w: P.NM(2), TypeError, "NM(2)", "NM(2, 4)"),
    "unstructured: argument": wrong(lambda w: P.Unstructured(4), TypeError, "Unstructured(4)"),
    "get: None": wrong(lambda w: P.get(None), TypeError, "pattern=None", '"unstructured"'),
    "get: number": wrong(lambda w: P.get(4), TypeError, "pattern=4, an int"),
    "get: misspelt": wrong(lambda w: P.get("chanel"), ValueError, 'pattern="channel"'),
    "get: (4, 1)": wrong(lambda w: P.get("4, 1"), ValueError, "Block((4, 1))"),
    "get: class": wrong(lambda w: P.get(P.Unstructured), TypeError, "Unstructured()"),
    "get: config of another": wrong(
        lambda w: P.get(keras.saving.serialize_keras_object(S.Constant(0.5))), TypeError, "Constant"
    ),
}
ALLOCATIONS = {
    "fixed: number": wrong(lambda w: A.Fixed(0.9), TypeError, "targets=0.9", '{"dense": 0.9}'),
    "fixed: empty": wrong(lambda w: A.Fixed({}), ValueError, "targets={}"),
    "fixed: percent": wrong(lambda w: A.Fixed({"a": 90}), ValueError, "targets['a']=90", "0.9"),
    "fixed: text": wrong(lambda w: A.Fixed({"a": "0.5"}), ValueError, "targets['a']='0.5'"),
    "fixed: list": wrong(lambda w: A.Fixed([0.5, 0.9]), TypeError, "[0.5, 0.9]"),
    "fixed: pairs": wrong(lambda w: A.Fixed([("a", 0.5)]), TypeError, "[('a', 0.5)]"),
    "fixed: nothing": wrong(lambda w: A.Fixed(), TypeError, "Fixed()", '{"dense": 0.9}'),
    "fixed: class": wrong(
        lambda w: kprune.prune(w.model, 0.5, allocation=A.Fixed({"dense": 0.5})),
        ValueError,
        "'dense'",
    ),
    "erk: argument": wrong(lambda w: A.ERK(0.9), TypeError, "ERK(0.9)", "ERK()"),
    "erk: scale": wrong(lambda w: A.ERK(power_scale=1.0), TypeError, "power_scale=1.0"),
    "get: local": wrong(lambda w: A.get("local"), ValueError, '"class_uniform"'),
    "get: layerwise": wrong(lambda w: A.get("layerwise"), ValueError, '"class_uniform"'),
    "get: misspelt": wrong(lambda w: A.get("ekr"), ValueError, '"erk"'),
    "get: case": wrong(lambda w: A.get("Class-Blind"), ValueError, '"class_blind"'),
    "get: number": wrong(lambda w: A.get(0.5), TypeError, "allocation=0.5"),
    "get: class": wrong(lambda w: A.get(A.ClassBlind), TypeError, "ClassBlind()"),
    "get: empty": wrong(lambda w: A.get({}), ValueError, "targets={}"),
}
REFITS = {
    "damping": wrong(lambda w: R.LeastSquares(w.x, damping=-1), ValueError, "damping=-1"),
    "damping: text": wrong(lambda w: R.LeastSquares(w.x, damping="none"), ValueError, "'none'"),
    "damping: True": wrong(lambda w: R.LeastSquares(w.x, damping=True), ValueError, "damping=True"),
    "damping: nan": wrong(lambda w: R.LeastSquares(w.x, damping=np.nan), ValueError, "damping=nan"),
    "batch_size": wrong(lambda w: R.LeastSquares(w.x, batch_size=0), ValueError, "batch_size=0"),
    "sequential": wrong(lambda w: R.LeastSquares(w.x, sequential=1), TypeError, "sequential=1"),
    "x, y": wrong(
        lambda w: R.LeastSquares(w.x, w.y), TypeError, "shape (32,)", "LeastSquares((x, y))"
    ),
    "dataset=": wrong(lambda w: R.LeastSquares(dataset=w.x), TypeError, "Write data="),
    "get: class": wrong(lambda w: R.get(R.LeastSquares), TypeError, "kprune.refits.LeastSquares()"),
    "get: OBS": wrong(lambda w: R.get("obs"), ValueError, '"least_squares"'),
    "get: data": wrong(lambda w: R.get(w.x), TypeError, "shape (32, 12)"),
    "data: shape": wrong(
        lambda w: kprune.prune(w.model, 0.5, refit=R.LeastSquares(w.x[:, :3])),
        ValueError,
        "(32, 3)",
    ),
    "data: path": wrong(
        lambda w: kprune.prune(w.model, 0.5, refit=R.LeastSquares("x.npy")), TypeError, "'x.npy'"
    ),
}
