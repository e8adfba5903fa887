"""Builds the data, model, recipe, schedule and criterion that the flags name."""

from pathlib import Path

import keras
from absl import app, flags

import kprune
from data import images
from networks import lenet
from options import image_options  # noqa: F401  (defines the flags)
from options.criteria import build_criterion
from options.flag_values import change_by_flags
from training.image_training import RECIPES, Recipe

FLAGS = flags.FLAGS


def load_images() -> images.Images:
    """Loads the data set, with a part of the training images held out where that is asked for.

    Raises:
        app.UsageError: the files are missing or damaged.
    """
    if FLAGS.dataset == "digits" and FLAGS.data_dir is not None:
        raise app.UsageError(
            f"--data_dir={FLAGS.data_dir} came with --dataset=digits, which has no files; expected "
            f"another data set. Write --dataset=mnist --data_dir={FLAGS.data_dir}"
        )
    try:
        found = images.load(FLAGS.dataset, FLAGS.data_dir)
    except (OSError, ValueError) as error:
        raise app.UsageError(str(error)) from error
    return images.hold_out(found, FLAGS.validation) if FLAGS.validation else found


def load_model(shape: tuple[int, ...], classes: int) -> keras.Model | None:
    """Loads the model that is to be pruned in place of a new one; `None` where there is none.

    Raises:
        app.UsageError: there is no such file, or its model takes other images.
    """
    if FLAGS.load is None:
        return None
    try:
        model = keras.saving.load_model(FLAGS.load, compile=False)
    except (OSError, ValueError) as error:
        raise app.UsageError(
            f"--load={FLAGS.load} cannot be loaded ({error}); expected a .keras file. Leave it out "
            "to train a new model, which is written as trained.keras"
        ) from error
    took, gave = tuple(model.input_shape[1:]), model.output_shape[-1]
    if took != shape or gave != classes:
        raise app.UsageError(
            f"--load={FLAGS.load} holds a model from images {took} to {gave} classes; expected "
            f"{shape} to {classes} for --dataset={FLAGS.dataset}. Write the --dataset that it was "
            "trained on"
        )
    return model


def new_model(shape: tuple[int, ...], classes: int) -> keras.Model:
    """Makes the model that is to be trained."""
    chosen = recipe()
    return lenet.MODELS[FLAGS.model](shape, classes, chosen.dropout, chosen.l2)


def output_dir() -> Path:
    """Returns where to write."""
    return Path(FLAGS.output_dir or Path("savedmodels", f"{FLAGS.model}-{FLAGS.dataset}"))


def recipe() -> Recipe:
    """Returns the data set's recipe, with the flags that were given in its place."""
    return change_by_flags(RECIPES[FLAGS.dataset])


def schedule(updates: int) -> kprune.schedules.Schedule:
    """Returns the schedule, in updates of the optimizer.

    Args:
        updates: in the pruning epochs.

    Raises:
        app.UsageError: the schedule does not fit into the pruning epochs.
    """
    begin, end = _updates(FLAGS.begin_step, updates), _updates(FLAGS.end_step, updates)
    initial, final = FLAGS.initial_sparsity, FLAGS.final_sparsity
    if FLAGS.schedule == "constant":
        made: kprune.schedules.Schedule = kprune.schedules.Constant(final, begin)
    elif end < begin:
        raise app.UsageError(
            f"--end_step={FLAGS.end_step} is update {end}, before --begin_step={FLAGS.begin_step}, "
            f"update {begin}; expected it after that. Write --end_step=1.0."
        )
    elif FLAGS.schedule == "polynomial_decay":
        every = max(1, _updates(FLAGS.frequency or 0.05, updates))
        made = kprune.schedules.PolynomialDecay(initial, final, begin, end, frequency=every)
    else:
        every = (
            _updates(FLAGS.frequency, updates) if FLAGS.frequency else (end - begin) // FLAGS.steps
        )
        made = kprune.schedules.Iterative(initial, final, FLAGS.steps, max(1, every), begin)
    if made.end_step > updates:
        raise app.UsageError(
            f"the schedule ends at update {made.end_step}, and there are {updates} updates in "
            f"--prune_epochs={recipe().prune_epochs}; expected an end before that. "
            "Write more --prune_epochs, fewer --steps, or a lower --frequency."
        )
    return made


def criterion(labelled: images.Labelled) -> kprune.criteria.Criterion:
    """Returns the criterion, with the data and the seed where it has a use for them."""
    return build_criterion(FLAGS.criterion, data=labelled, seed=FLAGS.seed)


def _updates(step: int | float, updates: int) -> int:
    return round(step * updates) if isinstance(step, float) else step
