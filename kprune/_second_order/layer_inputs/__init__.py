"""Observes the inputs of layers, and accumulates their Gram matrices."""
