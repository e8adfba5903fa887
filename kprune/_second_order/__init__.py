"""Computes Hessians, and finds masks and values of weights with them."""
