"""Tries every feature on every backend of Keras, and prints what works as a table.

    python -m benchmarks.compatibility.backends

Each backend runs in a process of its own. A feature works if its call returns and what it leaves is
as sparse as was asked, on every step of a training. The table is that of docs/compatibility.md.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_list("backends", ["tensorflow", "jax", "torch"], "which backends")
flags.DEFINE_bool("only", False, "print the results of this process's backend; used internally")


def data() -> tuple[Any, Any]:
    """Returns points in twelve dimensions with the place of the greatest of the first four."""
    x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
    return x, x[:, :4].argmax(1)


def network() -> Any:
    """Returns a compiled network of two layers with dropout."""
    import keras

    dense = keras.layers.Dense
    model = keras.Sequential(
        [
            keras.Input((12,)),
            dense(16, "relu"),
            keras.layers.Dropout(0.3),
            keras.layers.BatchNormalization(),
            dense(4, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def at_once(**choices: Any) -> Callable[[], None]:
    """Returns a try of `prune`."""

    def run() -> None:
        import kprune

        assert kprune.prune(network(), 0.5, **choices).sparsity == 0.5

    return run


def in_fit(*callbacks: Callable[[Any], Any], sparsity: float | None = None) -> Callable[[], None]:
    """Returns a try of `fit` with callbacks that are made for the model."""

    def run() -> None:
        import keras

        import kprune

        class OnMasks(keras.callbacks.Callback):
            """Fails if a weight has left its mask."""

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                assert not sum(weight.stray for weight in kprune.report(self.model).pruned)

        model = kprune.wrap(network())
        made = [make(model) for make in callbacks]
        model.fit(*data(), batch_size=16, epochs=3, verbose=0, callbacks=[*made, OnMasks()])
        assert sparsity is None or abs(kprune.report(model).sparsity - sparsity) < 0.01

    return run


def features() -> Iterator[tuple[str, Callable[[], None]]]:
    """Yields the name of each feature, and what tries it."""
    import kprune

    criteria, callbacks, schedules = kprune.criteria, kprune.callbacks, kprune.schedules
    x, y = data()
    ramp = schedules.PolynomialDecay(0.0, 0.8, begin_step=2, end_step=10, frequency=2)
    with_data = {
        "Magnitude": "magnitude",
        "Random": "random",
        "Saliency": criteria.Saliency((x, y)),
        "Wanda": criteria.Wanda(x),
        "OBS, layer by layer": criteria.OBS(x),
        "SparseGPT": criteria.SparseGPT(x),
        "OBD": criteria.OBD((x, y)),
        "OBS, full": criteria.OBS((x, y), "full"),
        "OBS, block": criteria.OBS((x, y), "block"),
    }
    for name, criterion in with_data.items():
        yield f"prune: {name}", at_once(criterion=criterion)
    yield "prune: LeastSquares", at_once(refit=kprune.refits.LeastSquares(x))
    yield (
        "every allocation",
        lambda: [at_once(allocation=a)() for a in kprune.allocations.MEMBERS][0],
    )
    yield "every pattern", try_patterns
    for name in ("magnitude", "saliency", "movement"):
        pruning = callbacks.Pruning(ramp, name)
        yield f"fit: Pruning, {name}", in_fit(lambda model, p=pruning: p, sparsity=0.8)
    yield (
        "fit: DropoutRatioAdjustment",
        in_fit(lambda _: callbacks.Pruning(ramp), lambda _: callbacks.DropoutRatioAdjustment()),
    )
    yield "fit: ThresholdPruning", in_fit(lambda _: callbacks.ThresholdPruning(0.5, frequency=3))
    yield "fit: Regularization", in_fit(lambda _: callbacks.Regularization("l2"))
    yield "fit: ReweightedProximal", in_fit(lambda _: callbacks.ReweightedProximal(1e-3))
    yield "fit: Rewinding", in_fit(lambda _: callbacks.Rewinding(2))
    yield "fit: WeightSharing", in_fit(share)
    yield "training.fake_quantized", try_fake_quantized
    yield "recalibrate_batch_norm", lambda: kprune.recalibrate_batch_norm(network(), x) and None
    yield "costs: parameters, operations", lambda: kprune.costs(network()) and None
    yield "costs: TFLite files", lambda: kprune.costs(network(), "float32") and None
    yield "save, load, strip", try_saving
    yield "export.save_compressed", lambda: try_export("save_compressed")
    yield "export.to_saved_model", lambda: try_export("to_saved_model")
    yield "export.to_tflite", lambda: try_export("to_tflite")


def try_patterns() -> None:
    """Prunes by every pattern."""
    import kprune

    for pattern in kprune.patterns.MEMBERS:
        model = kprune.wrap(network(), pattern=pattern)
        assert abs(kprune.prune(model, 0.5).sparsity - 0.5) < 0.05


def share(model: Any) -> Any:
    """Shares weights, and returns the callback that trains them."""
    import kprune

    kprune.training.share_weights(model, bits=3)
    return kprune.callbacks.WeightSharing()


def try_fake_quantized() -> None:
    """Fine-tunes a pruned network with rounded weights."""
    import kprune

    model = network()
    kprune.prune(model, 0.5)
    with kprune.training.fake_quantized(model):
        model.fit(*data(), verbose=0)
    assert kprune.report(model).sparsity == 0.5


def try_saving() -> None:
    """Saves a wrapped network, loads it into another one, trains and strips that."""
    import kprune

    model = network()
    kprune.prune(model, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "model.weights.h5")
        model.save_weights(path)
        resumed = kprune.wrap(network())
        resumed.load_weights(path)
    resumed.fit(*data(), verbose=0)
    assert kprune.report(kprune.strip(resumed)).sparsity == 0.5


def try_export(name: str) -> None:
    """Writes a file of a pruned network."""
    import kprune

    model = network()
    kprune.prune(model, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        getattr(kprune.export, name)(kprune.strip(model), pathlib.Path(folder) / "model")


def attempt(function: Callable[[], None]) -> str:
    """Returns "yes", "TensorFlow" where a feature says that it needs it, or the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function()
    except RuntimeError as error:
        return "needs TensorFlow" if "needs TensorFlow" in str(error) else f"no: {error}"
    except Exception as error:  # the table shows it
        return f"no: {type(error).__name__}"
    return "yes"


def main(_: list[str]) -> None:
    """Tries every backend and prints a table."""
    if FLAGS.only:
        print(json.dumps({name: attempt(function) for name, function in features()}))
        return
    found: dict[str, dict[str, str]] = {}
    for backend in FLAGS.backends:
        command = [sys.executable, "-m", __spec__.name, "--only"]
        environment = {**os.environ, "KERAS_BACKEND": backend}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found[backend] = json.loads(done.stdout.splitlines()[-1])
    print("| | " + " | ".join(found) + " |")
    print("|---|" + "---|" * len(found))
    for name in next(iter(found.values())):
        print(f"| {name} | " + " | ".join(found[backend][name] for backend in found) + " |")


if __name__ == "__main__":
    app.run(main)
