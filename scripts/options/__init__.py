"""Defines the flags of the programs and reads their values."""
