"""Reads the data sets that the programs train on."""
