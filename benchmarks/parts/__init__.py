"""Holds the parts that the programs share."""
