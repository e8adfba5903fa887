"""Reads files that may be made to harm: within a limit of memory, and without running code."""
