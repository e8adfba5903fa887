"""Keeps masks beside the weights of a model: finds the weights, stores the masks, reports."""
