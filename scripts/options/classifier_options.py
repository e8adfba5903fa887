"""Defines the flags of `prune_text_classifier.py`, and reads the recipe they change."""

import dataclasses
from pathlib import Path

from absl import flags

from options import text_options
from options.flag_values import change_by_flags
from training import encoder_pruning

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How long and how fast a classifier is trained.

    Args:
        epochs: of dense training or fine-tuning.
        retrain_epochs: of pruning and retraining.
        batch_size: sentences in an update.
        learning_rate: AdamW's at the start of dense training.
        retrain_learning_rate: AdamW's at the start of pruning. Both fall to zero along a line.
    """

    epochs: int
    retrain_epochs: int
    batch_size: int
    learning_rate: float
    retrain_learning_rate: float


SMALL = Recipe(6, 4, 32, 2e-3, 2e-3)  # an encoder made here
PRETRAINED = Recipe(3, 3, 32, 1e-4, 3e-4)


def _default(name: str) -> str:
    return f"Default: {getattr(SMALL, name):g}, with --load {getattr(PRETRAINED, name):g}."


text_options.define(
    "train, dev and test of SST-2, each .tsv, .tsv.xz or .tsv.gz",
    sparsity=0.8,
    schedule=None,  # the method's own, as the allocation is
    allocation=None,
)
flags.DEFINE_string(
    "load",
    None,
    "Preset of a pre-trained encoder, such as benchmarks.accuracy.minilm writes. Default: a small "
    "one is made, its vocabulary computed from the training sentences.",
)
flags.DEFINE_enum(
    "method",
    "nip",
    list(encoder_pruning.METHODS),
    "imp, iterative magnitude; nip, gradual magnitude; rpp, reweighted proximal; movement; "
    "saliency. The zeros of rpp are where they emerge; the others prune within each layer.",
)
flags.DEFINE_float(
    "strength",
    None,
    "Of rpp. Default: what draws 95 % of the zeros there without a gradient.",
    lower_bound=1e-9,
)
flags.DEFINE_float(
    "retrain_learning_rate",
    None,
    f"AdamW's at the start of pruning. {_default('retrain_learning_rate')}",
    lower_bound=0,
)
flags.DEFINE_integer("sentences", None, "Train on so many, at random. Default: all.", lower_bound=1)


def recipe() -> Recipe:
    """Returns the recipe of the encoder, changed as the flags say."""
    base = SMALL if FLAGS.load is None else PRETRAINED
    return change_by_flags(base)


def output_dir() -> Path:
    """Returns where to write."""
    what = "reviews" if FLAGS.data_dir is None else "sst2"
    return Path(FLAGS.output_dir or f"savedmodels/classifier-{what}-{FLAGS.method}")
