"""Defines the flags that all programs on text have."""

from absl import flags

import kprune
from options import checks
from training import schedules

flags.disclaim_key_flags()  # they belong to the module that calls `define`


def define(data: str, sparsity: float, schedule: str, allocation: str) -> None:
    """Defines the flags.

    A length or a rate that is left out is that of the data set's own recipe.

    Args:
        data: what `--data_dir` holds.
        sparsity: the default of `--sparsity`.
        schedule: the default of `--schedule`.
        allocation: the default of `--allocation`.
    """
    flags.DEFINE_string("data_dir", None, f"Folder with {data}. Default: a small bundled set.")
    flags.DEFINE_string(
        "output_dir", None, "Where to write. Default: a folder in savedmodels/. Files are replaced."
    )
    flags.DEFINE_bool("resume", False, "Go on from what an earlier run left in --output_dir.")
    flags.DEFINE_integer("epochs", None, "Epochs of dense training.", lower_bound=1)
    flags.DEFINE_integer("retrain_epochs", None, "Epochs of pruning and retraining.", lower_bound=0)
    flags.DEFINE_integer("batch_size", None, "Samples in an update.", lower_bound=1)
    flags.DEFINE_float("learning_rate", None, "At the start of dense training.", lower_bound=0)
    checks.sparsity("sparsity", sparsity, "Fraction of the masked weights that become zero.")
    flags.DEFINE_enum(
        "schedule", schedule, schedules.NAMES, "How the sparsity rises while retraining."
    )
    flags.DEFINE_enum(
        "allocation",
        allocation,
        list(kprune.allocations.MEMBERS),
        "How the zeros are shared out among the classes of weights.",
    )
    flags.DEFINE_integer("seed", 0, "Of initial weights, order of samples, dropout.", lower_bound=0)
    flags.DEFINE_integer("verbose", 1, "0, the table; 1, bars; 2, a line an epoch.", 0, 2)
