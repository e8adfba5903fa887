"""Models of every kind that users have, each with inputs that fit it."""

import keras
import numpy as np

layers = keras.layers


def mlp(inputs=12, hidden=16, classes=4, dropout=0.0):
    model = keras.Sequential(
        [keras.Input((inputs,)), layers.Dense(hidden, activation="relu", name="hidden")]
        + ([layers.Dropout(dropout, name="dropout")] if dropout else [])
        + [layers.Dense(classes, activation="softmax", name="logits")],
        name="mlp",
    )
    return compiled(model)


def compiled(model, optimizer="adam", **kwargs):
    """Compiles a classifier; its optimizer and metrics are built, if it is.

    A train step that makes variables is traced twice, which is most of what a small fit costs.
    """
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], **kwargs)
    if model.built:
        model.optimizer.build(model.trainable_variables)
        model.compute_metrics(None, np.zeros(1), np.zeros((1, model.output_shape[-1])))
        model.reset_metrics()
    return model


def functional():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.SeparableConv2D(5, 2)(x)
    x = layers.Conv2DTranspose(4, 2)(x)
    x = layers.BatchNormalization()(x)
    skip = layers.Conv2D(4, 1)(x)
    x = layers.Flatten()(layers.Add()([x, skip]))
    return keras.Model(image, layers.Dense(3)(x), name="functional"), np.zeros((2, 8, 8, 3))


def nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(7), layers.Dense(5)], name="inner")
    image = keras.Input((6,))
    return keras.Model(image, layers.Dense(3)(inner(image)), name="nested"), np.zeros((2, 6))


class Subclassed(keras.Model):
    """A subclassed model, with a list of layers."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.blocks = [layers.Dense(8), layers.Dense(6)]
        self.head = layers.Dense(2)

    def call(self, x):
        for block in self.blocks:
            x = keras.ops.relu(block(x))
        return self.head(x)


def subclassed():
    model, x = Subclassed(), np.zeros((2, 5), "float32")
    model(x)
    return model, x


def recurrent():
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8)(words)
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x)
    x = layers.GRU(4)(x)
    return keras.Model(words, layers.Dense(2)(x), name="recurrent"), np.zeros((2, 6), "int32")


def attention():
    tokens = keras.Input((5, 8))
    x = layers.MultiHeadAttention(2, 4)(tokens, tokens)
    x = layers.LayerNormalization()(x + tokens)
    x = layers.TimeDistributed(layers.Dense(6))(x)
    return keras.Model(tokens, layers.Dense(3)(x), name="attention"), np.zeros((2, 5, 8))


def shared():
    dense = layers.Dense(6, name="twice")
    image = keras.Input((6,))
    return keras.Model(image, layers.Dense(2)(dense(dense(image))), name="shared"), np.zeros((2, 6))


def kerashub():
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=6,
    )
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=None)
    ones = np.ones((2, 6), "int32")
    return model, {"token_ids": ones, "segment_ids": ones * 0, "padding_mask": ones}


KINDS = {
    "functional": functional,
    "nested": nested,
    "subclassed": subclassed,
    "recurrent": recurrent,
    "attention": attention,
    "shared": shared,
    "kerashub": kerashub,
}
