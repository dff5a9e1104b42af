"""Weights in and out: of other libraries, and in files of safetensors."""
