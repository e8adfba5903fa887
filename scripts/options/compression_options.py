"""Defines the flags of `deep_compression.py`, and reads the recipe they change."""

from pathlib import Path

from absl import flags

from data import images
from networks import lenet
from options import flag_values
from training.deep_compression import DIGITS, RECIPES, Recipe

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "digits", images.DATASETS, "Which images.")
flags.DEFINE_string("data_dir", None, "Where the IDX files are. Default: Keras's own download.")
flags.DEFINE_enum("model", "lenet_300_100", list(lenet.MODELS), "Which network.")
flags.DEFINE_float("sparsity", None, "Fraction of the weights that is pruned.", 0, 1)
flags.DEFINE_integer("epochs", None, "Of the dense training.", 1)
flags.DEFINE_integer("prune_epochs", None, "Of gradual pruning.", 1)
flags.DEFINE_integer("fine_tune_epochs", None, "After the last mask update.", 1)
flags.DEFINE_integer("share_epochs", None, "Of the codebooks' values.", 1)
flags.DEFINE_integer("dense_bits", None, "Of a code in dense layers.", 1, 12)
flags.DEFINE_integer("conv_bits", None, "Of a code in convolutions.", 1, 12)
flags.DEFINE_enum(
    "initialization", "linear", ["linear", "density", "random"], "Where the centroids start."
)
flags.DEFINE_boolean("tflite", True, "Write TFLite files too, and print their sizes.")
flags.DEFINE_float("validation", None, "Test on this fraction of the training images.", 0, 1)
flags.DEFINE_boolean("resume", False, "Go on from what --output_dir holds.")
flags.DEFINE_string("output_dir", None, "Default: savedmodels/deep_compression/MODEL.")
flags.DEFINE_integer("seed", 0, "Of weights, batches and dropout.")
flags.DEFINE_integer("verbose", 1, "0 is silent, 1 a progress bar, 2 a line an epoch.", 0, 2)


def recipe() -> Recipe:
    """Returns the recipe of the data set and the model, changed by the flags."""
    base = DIGITS if FLAGS.dataset == "digits" else RECIPES[FLAGS.model]
    return flag_values.change_by_flags(base)


def output_dir() -> Path:
    """Returns where to write."""
    return Path(FLAGS.output_dir or Path("savedmodels/deep_compression", FLAGS.model))
