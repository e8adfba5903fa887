"""The .tflite format: which constants may be stored sparse, and the smallest form of each."""
