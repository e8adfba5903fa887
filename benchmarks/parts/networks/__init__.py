"""Builds, loads and trains the networks that are measured."""
