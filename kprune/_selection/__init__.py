"""Selects the lowest scores of many arrays, exactly and without sorting. NumPy alone."""
