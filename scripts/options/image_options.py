"""Defines the flags of `prune_image_classifier.py`, one for each choice that kprune offers."""

from collections.abc import Callable
from typing import Any

from absl import flags

import kprune
from data import images
from networks import lenet
from options import checks
from training.image_training import RECIPES

DIGITS, OTHERS = RECIPES["digits"], RECIPES["mnist"]
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")


class _StepParser(flags.ArgumentParser):
    """Reads 0.5 as a fraction of the pruning epochs and 500 as a number of updates."""

    syntactic_help = "a whole number of updates, or a fraction of the pruning epochs"

    def parse(self, argument: Any) -> int | float:
        """Returns an int for updates, a float for a fraction."""
        if not isinstance(argument, str):
            return argument  # type: ignore[no-any-return]
        try:
            step = float(argument) if set(argument) & set(".e") else int(argument)
        except ValueError:
            step = -1
        if step < 0 or isinstance(step, float) and step > 1:
            raise ValueError(
                "expected a whole number of updates, such as 500, or a fraction of the pruning "
                "epochs in [0, 1], such as 0.5"
            )
        return step

    def flag_type(self) -> str:
        """Returns what --help calls it."""
        return "updates or fraction"


def _step(name: str, default: int | float | None, help: str) -> None:
    flags.DEFINE(_StepParser(), name, default, help, serializer=flags.ArgumentSerializer())


def _recipe(name: str, define: Callable[..., Any], least: float, help: str) -> None:
    """Leaves the default to the data set's recipe, and tells it."""
    defaults = f"{getattr(DIGITS, name):g} for digits, {getattr(OTHERS, name):g} for others"
    define(name, None, f"{help} Default: {defaults}.", lower_bound=least)


flags.DEFINE_enum(
    "dataset", "digits", images.DATASETS, "Images to classify; digits come with scikit-learn."
)
flags.DEFINE_string(
    "data_dir",
    None,
    "Folder with the four IDX files of mnist or fashion_mnist, gzip or not. Default: "
    "keras.datasets downloads them.",
)
flags.DEFINE_enum("model", "lenet_300_100", list(lenet.MODELS), "Network to train.")
flags.DEFINE_string(
    "load", None, "A .keras file to prune in place of a newly trained model; such as trained.keras."
)
flags.DEFINE_string(
    "output_dir", None, "Where to write. Default: savedmodels/MODEL-DATASET. Files are replaced."
)
_recipe("epochs", flags.DEFINE_integer, 1, "Epochs of dense training.")
_recipe(
    "prune_epochs",
    flags.DEFINE_integer,
    1,
    "Epochs in which the schedule prunes and the survivors are retrained.",
)
_recipe(
    "fine_tune_epochs",
    flags.DEFINE_integer,
    0,
    "Epochs after pruning, the learning rate falling to zero.",
)
flags.DEFINE_bool(
    "dense_extra",
    True,
    "Train a copy of the dense model for as many epochs as the pruned one, at the same learning "
    "rates, and compare with the better of the two dense models.",
)
_recipe("batch_size", flags.DEFINE_integer, 1, "Images in an update.")
_recipe(
    "learning_rate",
    flags.DEFINE_float,
    0,
    "Adam's at the start of dense training, which ends at 0.",
)
_recipe(
    "prune_learning_rate",
    flags.DEFINE_float,
    0,
    "Adam's while pruning and at the start of fine-tuning, which ends at 0.",
)
_recipe("dropout", flags.DEFINE_float, 0, "Rate after each hidden layer of a new model.")
_recipe(
    "l2",
    flags.DEFINE_float,
    0,
    "Weight decay of a new model: the factor of the sum of squared weights in the loss. It shrinks "
    "weights that do nothing, so that magnitude tells them.",
)
flags.DEFINE_float(
    "validation",
    0.0,
    "Hold out this fraction of the training images and report on it in place of the test images: "
    "for choosing a recipe.",
    lower_bound=0,
    upper_bound=0.9,
)
flags.DEFINE_enum(
    "schedule",
    "iterative",
    ["iterative", "polynomial_decay", "constant"],
    "How the sparsity rises: in equal steps, steeply at first, or all at once.",
)
checks.sparsity("initial_sparsity", 0.5, "Fraction of zeros at --begin_step.")
checks.sparsity("final_sparsity", 0.9, "Fraction of zeros at the end, met exactly.")
flags.DEFINE_integer(
    "steps", 9, "How often the sparsity rises from initial to final, if iterative.", lower_bound=1
)
_step(
    "frequency",
    None,
    "Updates from one cut to the next, such as 500, or a fraction of the pruning epochs, such as "
    "0.05. Default: 0.05; if iterative, what makes the last cut fall on --end_step.",
)
_step("begin_step", 0.0, "First cut: a number of updates, or a fraction of the pruning epochs.")
_step("end_step", 0.65, "Last cut, in the same terms; the rest of the pruning epochs retrains.")
flags.DEFINE_enum(
    "criterion", "magnitude", list(kprune.criteria.MEMBERS), "How weights are scored."
)
flags.DEFINE_enum(
    "allocation",
    "class_blind",
    list(kprune.allocations.MEMBERS),
    "How the zeros are shared out among the classes of weights.",
)
flags.DEFINE_string(
    "pattern",
    "unstructured",
    f"What is cut as one piece: {', '.join(kprune.patterns.MEMBERS)}, or any N:M.",
)
checks.known("pattern", kprune.patterns.get)
flags.DEFINE_enum("classes", "layer", ["layer", "weight", "kind"], "What makes a class of weights.")
flags.DEFINE_multi_string(
    "include", None, "Regex of the paths of weights to prune; default: all; repeat it for several"
)
flags.DEFINE_multi_string(
    "exclude", None, "Regex of the paths of weights to leave dense; repeat it for several"
)
flags.DEFINE_bool(
    "adjust_dropout", True, "Lower dropout as connections go: rate * sqrt(kept / all)."
)
flags.DEFINE_list(
    "quantization",
    list(QUANTIZATIONS),
    f"TFLite files to write: some of {','.join(QUANTIZATIONS)}.",
)
flags.register_validator(
    "quantization",
    lambda value: bool(value) and set(value) <= set(QUANTIZATIONS),
    f"expected some of {', '.join(QUANTIZATIONS)}. Write --quantization=none,int8",
)
flags.DEFINE_bool("sparse_tflite", True, "Store zeros sparsely in TFLite files.")
flags.DEFINE_integer("seed", 0, "Of initial weights, order of images, dropout.", lower_bound=0)
flags.DEFINE_integer("verbose", 1, "What to show: 0, the table; 1, bars; 2, a line an epoch.", 0, 2)
