"""Emulates the processor of a phone and counts its instructions."""
