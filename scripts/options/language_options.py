"""Defines the flags of `prune_language_model.py`, and reads the recipe they change."""

import dataclasses
from pathlib import Path

from absl import flags

import kprune
from options import text_options
from options.flag_values import change_by_flags
from training.schedules import build_schedule

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How large a model is, and how long and how fast it is trained.

    Args:
        width: of the embedding and of each LSTM.
        dropout: rate around each LSTM.
        epochs: of dense training.
        retrain_epochs: of pruning and retraining.
        batch_size: streams that are read at a time.
        learning_rate: Adagrad's, at the start of dense training; retraining starts at half of it.
        sampled_words: drawn for each update's softmax; 0 takes all words.
    """

    width: int
    dropout: float
    epochs: int
    retrain_epochs: int
    batch_size: int
    learning_rate: float
    sampled_words: int


BUNDLED = Recipe(64, 0.3, 12, 12, 8, 0.1, 0)
PENN_TREEBANK = Recipe(64, 0.1, 4, 4, 32, 0.1, 1024)


def _default(name: str) -> str:
    return f"Default: {getattr(BUNDLED, name):g}, with --data_dir {getattr(PENN_TREEBANK, name):g}."


text_options.define(
    "ptb.train.txt, ptb.valid.txt and ptb.test.txt, plain, .gz or .xz",
    sparsity=0.8,
    schedule="polynomial_decay",
    allocation="class_blind",
)
flags.DEFINE_integer(
    "width",
    None,
    f"Of the embedding and of each LSTM. {_default('width')}",
    lower_bound=1,
)
flags.DEFINE_integer("layers", 2, "LSTMs on top of each other.", lower_bound=1)
flags.DEFINE_float(
    "dropout",
    None,
    f"Rate around each LSTM. {_default('dropout')}",
    lower_bound=0,
    upper_bound=0.9,
)
flags.DEFINE_integer("steps", 35, "Words through which is propagated back.", lower_bound=1)
flags.DEFINE_integer(
    "sampled_words",
    None,
    f"Words drawn for each update's softmax; 0 takes all. {_default('sampled_words')}",
    lower_bound=0,
)


def recipe() -> Recipe:
    """Returns the recipe of the text, changed as the flags say."""
    base = BUNDLED if FLAGS.data_dir is None else PENN_TREEBANK
    return change_by_flags(base)


def schedule() -> kprune.schedules.Schedule:
    """Returns how the sparsity rises while the model is trained on."""
    return build_schedule(FLAGS.schedule, FLAGS.sparsity)


def output_dir() -> Path:
    """Returns where to write."""
    text = "bundled" if FLAGS.data_dir is None else "penn_treebank"
    return Path(FLAGS.output_dir or f"savedmodels/language_model-{text}")
