"""Files that were changed at random are read, or refused by a documented error, soon and in bounds.

    python -m pytest -m slow -s tests/test_mutations.py

tries 20,000 of each kind and prints how they ended.
"""

import collections
import contextlib
import pathlib
import signal
import sys
import time

import keras
import mutations
import pytest
from models import compiled, mlp

import kprune
from kprune import export
from kprune.export import compressed
from kprune.export._reading import keras_file
from kprune.training import weight_sharing

layers = keras.layers
LIMIT = 1 << 24  # bytes
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the memory")

SECONDS = 20  # for a file of some kilobytes, on a busy machine
GROWTH = 8 * LIMIT  # of the process, over all files


def shared():
    model = compiled(mlp())
    kprune.prune(model, 0.7)
    weight_sharing.share_weights(model, 3)
    return model


def words():
    lookup = layers.TextVectorization(output_sequence_length=4)
    lookup.adapt(["some words to know", "and some more"])
    text = keras.Input((1,), dtype="string")
    x = layers.Flatten()(layers.Embedding(12, 6)(lookup(text)))
    return keras.Model(text, layers.Dense(2)(x))


def functional():
    keras.config.set_dtype_policy("mixed_bfloat16")
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = keras.ops.relu(x + layers.BatchNormalization()(x))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    keras.config.set_dtype_policy("float32")
    return model


def image():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 16)),
            layers.Conv2D(32, 1, activation="relu"),
            layers.DepthwiseConv2D(3),
            layers.Flatten(),
            layers.Dense(16),
        ]
    )
    kprune.prune(model, 0.8)
    return model


@pytest.fixture(scope="module")
def kprune_files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("compressed")
    for model in (shared(), words(), functional()):
        compressed.save_compressed(model, directory / model.name)
    return [path.read_bytes() for path in sorted(directory.iterdir())]


@pytest.fixture(scope="module")
def tflite_files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tflite")
    model = image()
    for quantization in (None, "float16", "dynamic"):
        path = directory / f"{quantization}.tflite"
        export.to_tflite(model, path, quantization, timing_seconds=0)
    export.to_tflite(model, directory / "dense.tflite", sparse=False, timing_seconds=0)
    return [path.read_bytes() for path in sorted(directory.iterdir())]


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("keras")
    for model in (shared(), words(), functional()):
        model.save(directory / f"{model.name}.keras")
    return [path.read_bytes() for path in sorted(directory.iterdir())]


@contextlib.contextmanager
def alarm(seconds):
    def stop(*_):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def grown():
    """Returns a function that tells by how many bytes the process has grown at most since now."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of before

    def read(name):
        status = pathlib.Path("/proc/self/status").read_text()
        return 1024 * int(status.split(f"{name}:")[1].split()[0])

    before = read("VmRSS")
    return lambda: read("VmHWM") - before


@pytest.mark.filterwarnings("ignore")  # of Keras, about values that the mutation made
def assert_documented(files, kinds, read, path, numbers):
    """Fails where a mutated file is not read or refused in time; counts the ends by kind."""
    ends = collections.Counter()
    longest = 0.0
    growth_since = grown()
    for number in numbers:
        kind, content = mutations.mutate(files[number % len(files)], kinds, number)
        path.write_bytes(content)
        start = time.perf_counter()
        try:
            with alarm(SECONDS):
                read(path)
            end = "read"
        except (ValueError, OSError) as error:
            assert not isinstance(error, TimeoutError), f"mutation {number}, {kind}: {error}"
            end = type(error).__name__
        except Exception as error:
            pytest.fail(f"mutation {number}, {kind}: {type(error).__name__}: {error}")
        longest = max(longest, time.perf_counter() - start)
        ends[kind, end] += 1
        if number % 100 == 99:
            keras.backend.clear_session()
    growth = growth_since()
    rows = "\n".join(
        f"  {kind:14} {end:12} {count:7,}" for (kind, end), count in sorted(ends.items())
    )
    print(f"\n{len(numbers):,} mutations, slowest {longest:.1f} s, {growth >> 20} MB more\n{rows}")
    assert growth < GROWTH
    return ends


def read_compressed(path):
    return compressed.load_compressed(path, limit_bytes=LIMIT).weights


def read_tflite(path):
    return kprune.export.check(path, "arm", limit_bytes=LIMIT).weights


def read_keras(path):
    """Without the conversion that `check` goes on with, which is of a model."""
    return keras_file.load(path, limit_bytes=LIMIT).weights


KINDS = {
    "kprune": (mutations.KPRUNE, read_compressed),
    "tflite": (mutations.TFLITE, read_tflite),
    "keras": (mutations.KERAS, read_keras),
}


@pytest.mark.parametrize("suffix", KINDS)
def test_changed_files_are_read_or_refused(suffix, request, tmp_path):
    kinds, read = KINDS[suffix]
    files = request.getfixturevalue(f"{suffix}_files")
    ends = assert_documented(files, kinds, read, tmp_path / f"file.{suffix}", range(300))
    assert {kind for kind, _ in ends} == {each.__name__ for each in kinds}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", KINDS)
def test_twenty_thousand_changed_files_are_read_or_refused(suffix, request, tmp_path):
    kinds, read = KINDS[suffix]
    files = request.getfixturevalue(f"{suffix}_files")
    assert_documented(files, kinds, read, tmp_path / f"file.{suffix}", range(20_000))


def test_sound_files_are_read(kprune_files, tflite_files, keras_files, tmp_path):
    """The harness would pass a reader that refuses everything."""
    every = {"kprune": kprune_files, "tflite": tflite_files, "keras": keras_files}
    for suffix, files in every.items():
        for content in files:
            (tmp_path / f"file.{suffix}").write_bytes(content)
            assert KINDS[suffix][1](tmp_path / f"file.{suffix}")
