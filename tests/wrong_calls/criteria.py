"""Wrong calls of criteria, and of the data that they take."""

import numpy as np

import kprune
from wrong_calls import wrong

C = kprune.criteria

BY_DATA = {
    "OBS": C.OBS,
    "OBD": C.OBD,
    "Wanda": C.Wanda,
    "SparseGPT": C.SparseGPT,
    "Saliency": C.Saliency,
}
LABELLED = ("OBD", "Saliency")


def _data(name, x, y):
    """The data as this criterion takes them."""
    return (x, y) if name in LABELLED else x


# What is wrong with the data: what to give of x and y, the error, and words.
BAD_DATA = {
    "number": (lambda w, n: 5, TypeError, "5, an int"),
    "path": (lambda w, n: "data.csv", TypeError, "'data.csv', a str"),
    "class": (lambda w, n: np.ndarray, TypeError, "the class ndarray"),
    "generator": (lambda w, n: (each for each in [w.x]), TypeError, "generator"),
    "empty list": (lambda w, n: [], ValueError, "is empty"),
    "empty arrays": (lambda w, n: _data(n, w.x[:0], w.y[:0]), ValueError, "is empty"),
    "other features": (lambda w, n: _data(n, w.x[:, :5], w.y), ValueError, "(32, 5)"),
    "one axis too many": (lambda w, n: _data(n, w.x[None], w.y[:1]), ValueError, "(1, 32, 12)"),
    "nan": (lambda w, n: _data(n, w.x + np.nan, w.y), ValueError, "NaN or infinity"),
    "infinity": (lambda w, n: _data(n, w.x + np.inf, w.y), ValueError, "NaN or infinity"),
    "text": (lambda w, n: _data(n, w.x.astype(str), w.y), TypeError, "numbers"),
    "lists": (lambda w, n: w.x.tolist(), TypeError, "a float"),
    "lengths": (lambda w, n: (w.x, w.y[:7]), ValueError, "[7, 32]"),
    "batch of other lengths": (
        lambda w, n: [(w.x, w.y), (w.x, w.y[:7])],
        ValueError,
        "32 samples",
    ),
    "four parts": (lambda w, n: (w.x, w.y, w.y, w.y), TypeError, "a tuple of 4"),
    "empty tuple": (lambda w, n: (), ValueError, "empty"),
    "no inputs": (lambda w, n: (None, w.y), TypeError, "None"),
    "complex": (lambda w, n: _data(n, w.x * 1j, w.y), TypeError, "complex64"),
    "objects": (lambda w, n: _data(n, w.x.astype(object), w.y), TypeError, "object"),
    "scalar": (lambda w, n: np.float32(3.0), TypeError, "3."),
    "list of None": (lambda w, n: [None], TypeError, "None"),
}
DATA = {
    f"{name}({kind})": wrong(
        lambda w, name=name, make=make: kprune.prune(w.model, 0.5, BY_DATA[name](make(w, name))),
        error,
        word,
    )
    for name in BY_DATA
    for kind, (make, error, word) in BAD_DATA.items()
}
NO_DATA = {
    name: wrong(
        lambda w, name=name: kprune.prune(w.model, 0.5, BY_DATA[name]()),
        ValueError,
        "data=None",
        f"{name}((x, y))" if name in LABELLED else f"{name}(x)",
    )
    for name in BY_DATA
    if name != "Saliency"
}
LABELS = (
    {
        f"{name}: none": wrong(
            lambda w, name=name: kprune.prune(w.model, 0.5, BY_DATA[name](w.x)),
            ValueError,
            "no labels",
            f"{name}((x, y))",
        )
        for name in LABELLED
    }
    | {
        f"{name}: shape": wrong(
            lambda w, name=name: kprune.prune(
                w.model, 0.5, BY_DATA[name]((w.x, np.zeros((32, 7), "int32")))
            ),
            ValueError,
            "(32, 7)",
        )
        for name in LABELLED
    }
    | {
        f"{name}: text": wrong(
            lambda w, name=name: kprune.prune(w.model, 0.5, BY_DATA[name]((w.x, w.y.astype(str)))),
            TypeError,
            "labels of type <U",
            "int32",
        )
        for name in LABELLED
    }
    | {
        f"{name}: weights": wrong(
            lambda w, name=name: kprune.prune(
                w.model, 0.5, BY_DATA[name]([(w.x, w.y, np.ones(3))])
            ),
            ValueError,
            "shape (3,)",
        )
        for name in LABELLED
    }
    | {
        f"{name}: uncompiled": wrong(
            lambda w, name=name: kprune.prune(w.uncompiled, 0.5, BY_DATA[name]((w.x, w.y))),
            ValueError,
            "uncompiled",
            "model.compile(",
        )
        for name in LABELLED
    }
)
BY_NAME = {
    name: wrong(
        lambda w, name=name: BY_DATA[name](w.x, y=w.y), TypeError, "shape (32,)", f"{name}((x, y))"
    )
    for name in BY_DATA
}
TWO_ARGUMENTS = {
    name: wrong(
        lambda w, name=name: BY_DATA[name](w.x, w.y), TypeError, "shape (32,)", f"{name}((x, y))"
    )
    for name in BY_DATA
}
CONSTRUCTORS = {
    "batch_size": wrong(lambda w: C.Wanda(w.x, batch_size=0), ValueError, "batch_size=0"),
    "batch_size: text": wrong(lambda w: C.OBS(w.x, batch_size="32"), ValueError, "batch_size='32'"),
    "batch_size: None": wrong(lambda w: C.OBS(w.x, batch_size=None), ValueError, "batch_size=None"),
    "batch_size: True": wrong(lambda w: C.OBS(w.x, batch_size=True), ValueError, "batch_size=True"),
    "batch=": wrong(lambda w: C.OBS(w.x, batch=32), TypeError, "Write batch_size=32"),
    "recomputations": wrong(lambda w: C.OBS(w.x, recomputations=2.5), ValueError, "=2.5"),
    "dataset=": wrong(lambda w: C.Wanda(dataset=w.x), TypeError, "Write data="),
    "representative_dataset=": wrong(
        lambda w: C.SparseGPT(representative_dataset=w.x), TypeError, "Write data="
    ),
    "sequential": wrong(lambda w: C.SparseGPT(w.x, sequential="yes"), TypeError, "'yes'"),
    "damping": wrong(lambda w: C.SparseGPT(w.x, damping=-0.1), ValueError, "damping=-0.1"),
    "damping: text": wrong(lambda w: C.OBS(w.x, damping="0.01"), ValueError, "damping='0.01'"),
    "damping: infinity": wrong(lambda w: C.OBS(w.x, damping=np.inf), ValueError, "damping=inf"),
    "per_output": wrong(lambda w: C.Wanda(w.x, 1), TypeError, "per_output=1"),
    "hessian": wrong(lambda w: C.OBS(w.x, "layer"), ValueError, "hessian='layer'", '"layerwise"'),
    "hessian: number": wrong(lambda w: C.OBS(w.x, 5), ValueError, "hessian=5"),
    "fisher": wrong(lambda w: C.OBS(w.x, "full", fisher="empirical"), ValueError, "'empirical'"),
    "block_size": wrong(
        lambda w: C.OBS(w.x, "block", block_size=0.5), ValueError, "block_size=0.5"
    ),
    "sequential, full": wrong(
        lambda w: C.OBS(w.x, "full", sequential=True), ValueError, "sequential=True"
    ),
    "estimator": wrong(lambda w: C.OBD((w.x, w.y), "gaus_newton"), ValueError, '"gauss_newton"'),
    "estimator: class": wrong(
        lambda w: C.OBD((w.x, w.y), C.Hutchinson), TypeError, "kprune.criteria.Hutchinson()"
    ),
    "estimator: None": wrong(lambda w: C.OBD((w.x, w.y), None), TypeError, "estimator=None"),
    "probes": wrong(lambda w: C.Hutchinson(0), ValueError, "probes=0", "probes=256"),
    "probes: float": wrong(lambda w: C.Hutchinson(2.5), ValueError, "probes=2.5"),
    "relative_error": wrong(lambda w: C.Hutchinson(relative_error=-1), ValueError, "=-1"),
    "mode": wrong(lambda w: C.Hutchinson(mode="reverse"), ValueError, "mode='reverse'"),
    "mode, exact": wrong(lambda w: C.Exact(mode="forward"), ValueError, "mode='forward'"),
    "chunk": wrong(lambda w: C.Exact(-1), ValueError, "chunk=-1"),
    "seed": wrong(lambda w: C.GaussNewton("a"), ValueError, "seed='a'"),
    "levenberg_marquardt": wrong(lambda w: C.Backward("yes"), TypeError, "'yes'"),
    "random: seed": wrong(lambda w: C.Random(-1), ValueError, "seed=-1", "seed=0"),
    "random: seed, float": wrong(lambda w: C.Random(1.5), ValueError, "seed=1.5"),
    "random: seed, None": wrong(lambda w: C.Random(None), ValueError, "seed=None"),
    "movement: memory": wrong(lambda w: C.Movement(1.5), ValueError, "memory=1.5"),
    "movement: memory, text": wrong(lambda w: C.Movement("all"), ValueError, "memory='all'"),
    "movement: data": wrong(lambda w: C.Movement(data=w.x), TypeError, "data="),
    "magnitude: l1": wrong(
        lambda w: C.Magnitude("l1"), TypeError, "Magnitude('l1')", "Magnitude()"
    ),
    "get: name": wrong(lambda w: C.get("taylor"), ValueError, '"saliency"'),
    "get: hessian": wrong(lambda w: C.get("hessian"), ValueError, '"obs"'),
    "get: sparsegpt": wrong(lambda w: C.get("SparseGPT"), ValueError, '"sparse_gpt"'),
    "get: class": wrong(lambda w: C.get(C.Magnitude), TypeError, "kprune.criteria.Magnitude()"),
    "get: mapping": wrong(lambda w: C.get({"name": "obs"}), TypeError, "{'name': 'obs'}"),
    "calibration: batch": wrong(
        lambda w: kprune.calibration.Calibration(w.x, w.model, "OBS", False, "big"),
        ValueError,
        "batch_size='big'",
    ),
}
