"""Computes second-order information: of the loss, of layer inputs, and what it says of weights."""
