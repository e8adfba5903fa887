"""Builds the networks that the programs prune."""
