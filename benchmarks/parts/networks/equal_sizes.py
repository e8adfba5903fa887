"""Computes the sizes of LSTM language models, and the sparsity that makes two equal."""

import keras

import kprune


def parameters(vocabulary: int, width: int) -> int:
    """Returns how many a dense model has: embedding, output layer, LSTMs, biases.

    `2 v n + v + 2 (8 n^2 + 4 n)`, v words, width n.
    """
    return 2 * vocabulary * width + vocabulary + 2 * (8 * width**2 + 4 * width)


def sparsity(model: keras.Model, target: int) -> float:
    """Returns the sparsity of the masked weights that leaves so many parameters in all.

    Args:
        model: wrapped.
        target: parameters that are left, those without a mask included.

    Raises:
        ValueError: there are not so many, or those without a mask are more already.
    """
    report = kprune.report(model)
    others = sum(each.size for each in report.unpruned)
    if not others < target <= others + report.size:
        raise ValueError(
            f"target={target}; expected more than the {others} parameters without a mask, and at "
            f"most {others + report.size}, all there are. Write target={others + report.size // 2}."
        )
    return (report.size + others - target) / report.size
