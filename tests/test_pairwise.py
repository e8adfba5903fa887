"""The helper that chooses combinations, against its definition."""

import itertools
import math

import pytest
from pairwise import combinations

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("sizes", [(4, 3), (10, 4, 4), (3, 3, 3, 2), (2, 2, 2, 2, 2)])
def test_every_pair_of_choices_meets(sizes):
    factors = [[f"{number}{choice}" for choice in range(size)] for number, size in enumerate(sizes)]
    chosen = combinations(*factors)
    assert set(chosen) <= set(itertools.product(*factors)) and len(chosen) == len(set(chosen))
    for one, other in itertools.combinations(range(len(factors)), 2):
        for pair in itertools.product(factors[one], factors[other]):
            assert any((each[one], each[other]) == pair for each in chosen)
    fewest = math.prod(sorted(sizes)[-2:])
    assert fewest <= len(chosen) <= 1.5 * fewest
