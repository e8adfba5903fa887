"""Measures the time and the memory of pruning, of pruned files, and of their coding."""
