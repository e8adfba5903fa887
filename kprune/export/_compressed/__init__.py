"""Stores a Keras model in one file of coded tensors."""
