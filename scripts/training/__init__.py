"""Trains, prunes and evaluates the networks of the programs."""
