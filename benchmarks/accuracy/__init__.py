"""Measures the accuracy of pruned networks."""
