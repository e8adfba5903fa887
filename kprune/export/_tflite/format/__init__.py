"""Reads and writes the .tflite format and its sparse tensors."""
