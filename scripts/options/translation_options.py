"""Defines the flags of `prune_translation.py`, and reads the recipe they change."""

from absl import flags

from options import text_options
from options.flag_values import change_by_flags
from training.translation import RECIPES, Recipe

FLAGS = flags.FLAGS

text_options.define(
    data="Multi30k: train, val and test_2016_flickr, each .en and .de, plain, .gz or .xz",
    sparsity=0.8,
    schedule="constant",
    allocation="class_blind",
)
flags.DEFINE_float(
    "retrain_rate", None, "Adam's at the start of retraining, halved after each epoch."
)
flags.DEFINE_integer("vocabulary", None, "Words of each language, at most.", lower_bound=10)
flags.DEFINE_integer(
    "length", None, "Tokens of a sentence, at most; longer pairs are left out.", lower_bound=1
)
flags.DEFINE_integer("width", None, "Of the embeddings and of every layer.", lower_bound=1)
flags.DEFINE_integer("layers", None, "LSTM layers on each side.", lower_bound=1)
flags.DEFINE_float(
    "dropout", None, "Rate before each LSTM layer and the softmax.", lower_bound=0, upper_bound=0.9
)


def recipe() -> Recipe:
    """Returns the recipe of the data set, with every flag that was given in its place."""
    return change_by_flags(RECIPES["multi30k" if FLAGS.data_dir else "numbers"])
