"""Says what a model costs: parameters, operations, memory, bytes and milliseconds."""

from kprune.budgets._operations import COUNTERS, Counter
from kprune.budgets.costs import Costs, FileCost, LayerCost, costs

__all__ = ["COUNTERS", "Costs", "Counter", "FileCost", "LayerCost", "costs"]
