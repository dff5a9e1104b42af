"""Minibatch training as a program (section 6.5.7): a configuration in, a run directory out."""
