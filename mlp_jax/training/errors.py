"""How a run can end without a result, each with its exit status on the command line."""


class InputError(ValueError):
    """The command, the configuration or the data is wrong: says where, and what to do. Exit status 2."""


class TrainingDiverged(ArithmeticError):
    """The cost or a parameter became NaN or infinite: names epoch and step. Exit status 1."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C: what was done is saved, and the message says how to go on. Exit status 130."""
