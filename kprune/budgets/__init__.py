"""Says what a model costs: parameters, operations, memory, bytes and milliseconds."""

from kprune.budgets.costs import Costs, FileCost, LayerCost, costs

__all__ = ["Costs", "FileCost", "LayerCost", "costs"]
