"""Converts models to .tflite files and stores their zeros sparsely."""
