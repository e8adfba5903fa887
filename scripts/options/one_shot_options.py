"""Defines the flags of `prune_one_shot.py`."""

from absl import flags

import kprune
from data import images
from networks import lenet
from options import checks

HESSIANS = ("layerwise", "full", "block")

flags.DEFINE_string("model", None, "A .keras file to prune. Default: train the --example first.")
flags.DEFINE_string(
    "calibration",
    None,
    "A .npz file with arrays x, y and sample_weight (the latter two where needed), or a .npy file "
    "with x. Needed with --model.",
)
flags.DEFINE_string(
    "evaluation", None, "The same, of samples to judge by. Default: the calibration data."
)
flags.DEFINE_enum(
    "example", "digits", images.DATASETS, "What to train and prune where there is no --model."
)
flags.DEFINE_enum("network", "lenet_300_100", list(lenet.MODELS), "Network of the example.")
flags.DEFINE_string("data_dir", None, "Folder with the IDX files of mnist or fashion_mnist.")
flags.DEFINE_integer("epochs", 10, "Epochs that the example is trained for.", lower_bound=1)
flags.DEFINE_string(
    "output", None, "The .keras file to write. Default: savedmodels/one_shot/pruned.keras."
)
checks.sparsity("sparsity", 0.9, "Fraction of the weights that become zero, met exactly.")
flags.DEFINE_enum("criterion", "obs", list(kprune.criteria.MEMBERS), "How weights are scored.")
flags.DEFINE_enum("hessian", "layerwise", HESSIANS, "Of obs: whose curvature.")
flags.DEFINE_enum(
    "estimator",
    "gauss_newton",
    list(kprune.criteria.ESTIMATORS),
    "Of obd: how the diagonal of the Hessian is found.",
)
flags.DEFINE_string(
    "damping", "auto", 'Of obs, sparse_gpt and the refit: "auto", or a part of the mean diagonal.'
)
flags.DEFINE_bool(
    "sequential", False, "Cut layer after layer, each seeing the pruned ones' outputs."
)
flags.DEFINE_integer(
    "recomputations", 1, "In how many parts the cut is made; 16 for obs full and block.", 1
)
flags.DEFINE_enum(
    "refit", None, list(kprune.refits.MEMBERS), "What becomes of the survivors of any mask."
)
flags.DEFINE_enum(
    "allocation",
    "class_blind",
    list(kprune.allocations.MEMBERS),
    "How the zeros are shared out among the layers.",
)
flags.DEFINE_string(
    "pattern",
    "unstructured",
    f"What is cut as one piece: {', '.join(kprune.patterns.MEMBERS)}, or any N:M.",
)
checks.known("pattern", kprune.patterns.get)
flags.DEFINE_multi_string(
    "include", None, "Regex of the paths of weights to prune; default: all; repeat it for several"
)
flags.DEFINE_multi_string(
    "exclude", None, "Regex of the paths of weights to leave dense; repeat it for several"
)
flags.DEFINE_integer("samples", 1024, "Calibration samples to use, the first.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Samples looked at together.", lower_bound=1)
flags.DEFINE_bool(
    "recalibrate_batch_norm",
    True,
    "Match what leaves batch normalisation to the dense model.",
)
flags.DEFINE_integer("seed", 0, "Of the example's training and of random scores.", lower_bound=0)
flags.DEFINE_integer("verbose", 1, "What the training shows: 0, nothing; 1, bars; 2, lines.", 0, 2)
