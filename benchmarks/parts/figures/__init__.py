"""Draws the figures of the studies of accuracy."""
