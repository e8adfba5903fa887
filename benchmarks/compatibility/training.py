"""Trains with every optimizer of Keras in every way, and prints where weights stay on their masks.

    python -m benchmarks.compatibility.training

Each fit prunes to 80 % along a ramp. A cell says "yes" where pruned weights are zero at the end of
each batch, the sparsity is the one in the logs, and the last one is exact. The table is that of
docs/compatibility.md.
"""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import app, flags

OPTIMIZERS = flags.DEFINE_list("optimizers", [], "Which optimizers. Default: all.")

Make = Callable[..., Any]


def find_optimizers() -> dict[str, Make]:
    """Returns the constructors of all optimizers, by name."""
    import keras

    wrappers = "Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"
    found = {
        name: kind
        for name, kind in vars(keras.optimizers).items()
        if isinstance(kind, type) and name not in wrappers and not name.startswith("_")
    }
    return dict(sorted(found.items()))


def make_ways() -> dict[str, tuple[dict[str, Any], dict[str, Any], str]]:
    """Returns for each way: arguments of the optimizer, of `compile`, and the policy."""
    return {
        "graph": ({}, {}, "float32"),
        "eager": ({}, {"run_eagerly": True}, "float32"),
        "XLA": ({}, {"jit_compile": True}, "float32"),
        "4 steps per execution": ({}, {"steps_per_execution": 4}, "float32"),
        "accumulation": ({"gradient_accumulation_steps": 2}, {}, "float32"),
        "EMA": ({"use_ema": True, "ema_overwrite_frequency": 3}, {}, "float32"),
        "clipping, decay": ({"clipnorm": 1.0, "weight_decay": 0.01}, {}, "float32"),
        "mixed bfloat16": ({}, {}, "mixed_bfloat16"),
        "mixed float16": ({}, {}, "mixed_float16"),
        "own train_step": ({}, {"own_step": True}, "float32"),
    }


def make_own_class() -> Any:
    """Returns a model class with a training step as users write them."""
    import keras
    import tensorflow as tf

    class Own(keras.Sequential):
        """Takes its own gradients, and applies them by the optimizer."""

        def train_step(self, batch: Any) -> Any:
            x, y = batch
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    return Own


def attempt(make: Make, options: dict[str, Any], compiled: dict[str, Any], policy: str) -> str:
    """Returns "yes", or what went wrong in a fit."""
    import keras

    import kprune

    class OnMasks(keras.callbacks.Callback):
        """Fails if a weight has left its mask, or the log is wrong."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            report = kprune.report(self.model)
            assert not sum(weight.stray for weight in report.pruned), "left the masks"
            assert logs is None or abs(logs["sparsity"] - report.sparsity) < 1e-9, "log"

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    compiled = dict(compiled)
    kind = make_own_class() if compiled.pop("own_step", False) else keras.Sequential
    dense = keras.layers.Dense
    model = kprune.wrap(kind([keras.Input((12,)), dense(16, "relu"), dense(4)]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
    ramp = kprune.schedules.PolynomialDecay(0.0, 0.8, begin_step=2, end_step=10, frequency=2)
    callbacks = [kprune.callbacks.Pruning(ramp), OnMasks()]
    epochs = 6 if "gradient_accumulation_steps" in options else 3
    try:
        model.compile(make(**options), loss, **compiled)
        model.fit(x, x[:, :4].argmax(1), 16, epochs, verbose=0, callbacks=callbacks)
    except AssertionError as error:
        return f"no: {error}"
    except Exception as error:  # the table shows it
        with contextlib.suppress(Exception):  # does the dense model train so?
            dense_model = keras.models.clone_model(model)
            dense_model.compile(make(**options), loss, **compiled)
            dense_model.fit(x, x[:, :4].argmax(1), 16, verbose=0)
            return f"no: {type(error).__name__}"
        return "nor does Keras"
    report = kprune.report(model)
    return "yes" if report.size - report.kept == round(0.8 * report.size) else "no: inexact"


def main(_: list[str]) -> None:
    """Tries every pair and prints a table."""
    ways = make_ways()
    print("| | " + " | ".join(ways) + " |")
    print("|---|" + "---|" * len(ways))
    found = find_optimizers()
    for name in OPTIMIZERS.value or found:
        make = found[name]
        cells = []
        for options, compiled, policy in ways.values():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cells.append(attempt(make, options, compiled, policy))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    app.run(main)
