"""The claims of chapter 6, one module each: what to train, what to measure, how to draw it."""
