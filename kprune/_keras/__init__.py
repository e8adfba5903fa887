"""Holds every private name and every patch of Keras and TensorFlow that kprune needs.

No other room names an attribute of Keras that begins with an underscore, imports `keras.src`, or
sets an attribute past Keras's tracker. `tests/test_keras_names.py` fails when Keras changes one.
"""
