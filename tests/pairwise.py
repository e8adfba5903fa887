"""Chooses combinations in which every pair of choices meets at least once."""

import itertools


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
