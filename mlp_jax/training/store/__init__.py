"""All that a run reads and writes: its folder, checkpoints, weights; what is replaced is replaced whole."""
