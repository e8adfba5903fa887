"""Prunes the same networks by every method at once."""

import keras
import numpy as np
from keras import layers

import kprune

SPARSITY = 0.6


def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 8, 8, 3)).astype("float32")
    return x, (x.mean((1, 2)).argmax(1)).astype("int32")


def network():
    """A network with a kernel of every kind, and weights that are the same on every backend."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.SeparableConv2D(5, 2)(x)
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    x = layers.Reshape((36, 4))(x)
    x = layers.LSTM(6, return_sequences=True)(x)
    x = layers.GRU(5, reset_after=False)(x)
    x = layers.EinsumDense("ab,bc->ac", 6, bias_axes="c")(x)
    model = keras.Model(image, layers.Dense(3)(x), name="network")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(size=each.shape) * 0.3 for each in model.weights])
    return model


def methods():
    x, y = data()
    criteria = kprune.criteria
    yield "magnitude", "magnitude", {}
    yield "random", "random", {}
    yield "saliency", criteria.Saliency((x, y), batch_size=40), {}
    yield "wanda", criteria.Wanda(x), {}
    yield "obs", criteria.OBS(x, damping=0.01), {}
    yield "obs in order", criteria.OBS(x, damping=0.01, sequential=True), {}
    yield "sparse_gpt", criteria.SparseGPT(x, damping=0.01), {}
    yield "least squares", "magnitude", {"refit": kprune.refits.LeastSquares(x, damping=0.01)}
    for allocation in kprune.allocations.MEMBERS:
        yield allocation, "magnitude", {"allocation": allocation}


def prune_by_all():
    """Returns the values of every masked weight after every method and pattern."""
    found, model = {}, network()
    start = model.get_weights()

    def note(name):
        for weight in kprune.masked_weights(model):
            found[f"{name}: {weight.path}"] = np.array(weight.values())
        kprune.strip(model)
        model.set_weights(start)

    for name, criterion, choices in methods():
        kprune.prune(model, SPARSITY, criterion, **choices)
        note(name)
    for pattern in kprune.patterns.MEMBERS:
        kprune.wrap(model, pattern=pattern)
        kprune.prune(model, 0.5)
        note(pattern)
    return found
