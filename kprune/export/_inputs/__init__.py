"""Finds what a model takes, and makes examples of it."""
