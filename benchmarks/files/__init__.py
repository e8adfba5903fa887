"""Measures the sizes of .tflite files, and looks for wrong ones."""
