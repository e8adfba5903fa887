"""SavedModels as TensorFlow Serving sees them: by versions, by tag, by signature, by name."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import kprune
from kprune import export
from kprune.export import _keras_export, saved_model
from kprune.export._inputs import inspection

layers = keras.layers


def simple():
    return keras.Sequential(
        [keras.Input((4,), name="pixels"), layers.Dense(3), layers.Dense(2)], name="simple"
    )


def several():
    """Two inputs in a list, two outputs in a list."""
    image, mask = keras.Input((4,), name="image"), keras.Input((3,), name="mask")
    return keras.Model([image, mask], [layers.Dense(2)(image), layers.Dense(5)(mask)])


def dicts():
    """A dict of inputs, a string among them, and a dict of outputs."""
    image, word = keras.Input((4,), name="image"), keras.Input((), dtype="string", name="word")
    index = layers.StringLookup(vocabulary=["one", "two", "three"])(word)
    outputs = {"scores": layers.Dense(2)(image), "vector": layers.Embedding(4, 3)(index)}
    return keras.Model({"image": image, "word": word}, outputs)


def subclassed():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, inputs):
            return {"sum": self.dense(inputs["a"]) + inputs["b"]}

    model = Own()
    model({"a": np.ones((1, 3), "float32"), "b": np.ones((1, 2), "float32")})
    return model


CASES = {
    "simple": (simple, {"pixels": (3, 4)}, ["output_0"]),
    "several": (several, {"image": (3, 4), "mask": (3, 3)}, ["output_0", "output_1"]),
    "dicts": (dicts, {"image": (3, 4), "word": (3,)}, ["scores", "vector"]),
    "subclassed": (subclassed, {"a": (3, 3), "b": (3, 2)}, ["sum"]),
}


def request(shapes):
    """Values under the names of the inputs."""
    random = np.random.default_rng(1)
    return {
        name: np.array(["two", "one", "else"])
        if name == "word"
        else random.standard_normal(shape).astype("float32")
        for name, shape in shapes.items()
    }


def keras_outputs(case, model, values):
    """The model's own outputs under the names of the signature."""
    tensors = {name: tf.constant(value) for name, value in values.items()}
    if case == "simple":
        return {"output_0": model(tensors["pixels"])}
    if case == "several":
        outputs = model([tensors["image"], tensors["mask"]])
        return {"output_0": outputs[0], "output_1": outputs[1]}
    return model(tensors)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_signatures_are_called_by_name(case, batch_size, tmp_path):
    build, shapes, names = CASES[case]
    model = build()
    report = export.to_saved_model(model, tmp_path / "1", batch_size=batch_size)
    values = request(shapes)
    expected = keras_outputs(case, model, values)
    loaded = tf.saved_model.load(str(tmp_path / "1"), tags=["serve"])
    for name in ("serving_default", "serve"):
        served = loaded.signatures[name]
        given = served.structured_input_signature[1]
        assert {key: spec.shape.as_list() for key, spec in given.items()} == {
            key: [batch_size, *shape[1:]] for key, shape in shapes.items()
        }
        results = served(**{key: tf.constant(value) for key, value in values.items()})
        assert sorted(results) == names
        for key, value in results.items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-6)
    assert [each.name for each in report.inputs] == sorted(shapes)
    assert [each.name for each in report.outputs] == names
    assert {each.shape[0] for each in (*report.inputs, *report.outputs)} == {batch_size}


def test_a_file_that_serving_reads(tmp_path):
    """The protocol buffer itself: one graph under one tag, and a method of Serving's."""
    export.to_saved_model(dicts(), tmp_path / "models" / "words" / "1")
    proto = saved_model_pb2.SavedModel.FromString(
        (tmp_path / "models" / "words" / "1" / "saved_model.pb").read_bytes()
    )
    (graph,) = proto.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    signature = graph.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert {name: each.dtype for name, each in signature.inputs.items()} == {
        "image": tf.float32.as_datatype_enum,
        "word": tf.string.as_datatype_enum,
    }
    assert set(signature.outputs) == {"scores", "vector"}


def test_versions_stand_side_by_side(tmp_path):
    for version in (1, 2):
        export.to_saved_model(simple(), tmp_path / "simple" / str(version))
    assert sorted(each.name for each in (tmp_path / "simple").iterdir()) == ["1", "2"]
    with pytest.raises(FileExistsError, match="no saved_model.pb"):
        export.to_saved_model(simple(), tmp_path / "simple")  # the parent is not replaced


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "2"])
def test_a_batch_is_a_positive_whole_number(batch_size, tmp_path):
    with pytest.raises(ValueError, match=r"batch_size=.*expected a number of examples from 1"):
        export.to_saved_model(simple(), tmp_path / "1", batch_size=batch_size)
    assert not list(tmp_path.iterdir())


def test_a_wrapped_model_is_served_pruned_and_stays_wrapped(tmp_path):
    model = kprune.wrap(simple())
    kprune.prune(model, 0.5)
    export.to_saved_model(model, tmp_path / "1")
    assert kprune.report(model).sparsity == 0.5
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    kernels = [np.asarray(each) for each in loaded.variables if len(each.shape) == 2]
    assert sum(np.sum(each == 0) for each in kernels) == 9  # half of 4 x 3 and 3 x 2
    assert kprune.masked_weights(model)


@pytest.mark.parametrize("name", saved_model.SIGNATURES)
def test_a_signature_that_computes_something_else_is_an_error(name, tmp_path, monkeypatch):
    load = tf.saved_model.load

    class Loaded:
        def __init__(self, path, tags):
            loaded = load(path, tags)
            wrong = loaded.signatures[name]
            self.held = loaded
            self.signatures = {
                **{key: loaded.signatures[key] for key in saved_model.SIGNATURES},
                name: lambda **values: {k: v + 1 for k, v in wrong(**values).items()},
            }

    export.to_saved_model(simple(), tmp_path / "1")
    before = (tmp_path / "1" / "saved_model.pb").read_bytes()
    monkeypatch.setattr(tf.saved_model, "load", Loaded)
    with pytest.raises(export.ExportError, match="was not written: its outputs are 1 away"):
        export.to_saved_model(simple(), tmp_path / "1")
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == before


def test_a_missing_signature_is_an_error(tmp_path, monkeypatch):
    def write(model, path, signature):
        tf.saved_model.save(tf.Module(), path)

    monkeypatch.setattr(_keras_export, "write_saved_model", write)
    with pytest.raises(export.ExportError, match="serving_default and serve"):
        export.to_saved_model(simple(), tmp_path / "1")
    assert not list(tmp_path.iterdir())


def test_the_report_names_what_a_request_needs(tmp_path):
    report = export.to_saved_model(dicts(), tmp_path / "1", batch_size=2)
    assert report.inputs == (
        saved_model.SignatureTensor("image", "float32", (2, 4)),
        saved_model.SignatureTensor("word", "string", (2,)),
    )
    text = str(report)
    for row in ("image | float32 | 2 x 4", "scores | float32 | 2 x 2", "word | string | 2"):
        assert row in " ".join(text.replace("|", " | ").split()), text
    assert "serving_default, tag serve" in text
    assert json.loads(json.dumps(report.to_dict()))["inputs"][1]["name"] == "word"


def test_words_as_floats(tmp_path):
    """`keras.Input((6,))` is float32, also where an embedding reads it."""
    layers = [keras.Input((6,)), keras.layers.Embedding(2, 4), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    (words,) = inspection.find_signature(model).draw(np.random.default_rng(0), 50)
    assert words.dtype == np.float32 and set(np.unique(words)) == {0, 1}
    assert kprune.export.to_saved_model(model, tmp_path / "words").max_difference == 0
