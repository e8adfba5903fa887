"""Chooses combinations in which every pair of choices meets at least once."""

import itertools

import pytest


def pairs(combination):
    """The pairs of choices in a combination, each with the number of its factor."""
    return set(itertools.combinations(enumerate(combination), 2))


def combinations(*factors):
    """Returns few combinations of a choice of each factor, in which every pair of choices meets.

    What goes wrong where two choices meet is found as by the full product, in far fewer tests.
    The same factors give the same combinations: always the first one that holds the most new pairs.
    """
    product = list(itertools.product(*factors))
    missing = set().union(*map(pairs, product))
    chosen = []
    while missing:
        chosen.append(max(product, key=lambda each: len(pairs(each) & missing)))
        missing -= pairs(chosen[-1])
    return chosen


def quick_or_slow(quick, *factors):
    """Returns the parameters of the full product, of which all but the quick ones are slow tests.

    Args:
        quick: combinations that run each time; those of `combinations`, or fewer where one of each
            choice shows the point.
        factors: the choices of each factor.
    """
    quick = list(quick)
    product = itertools.product(*factors)
    return [
        pytest.param(*each, marks=() if each in quick else pytest.mark.slow) for each in product
    ]


def each_once(*factors):
    """Returns combinations in which every choice is met once: the shorter factors go round."""
    length = max(map(len, factors))
    rounds = [itertools.islice(itertools.cycle(factor), length) for factor in factors]
    return list(zip(*rounds, strict=True))
