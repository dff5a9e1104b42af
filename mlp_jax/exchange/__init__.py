"""Weights and models, in and out."""
