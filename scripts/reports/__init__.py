"""Writes what a program measured: tables, figures, model files and results as JSON."""
