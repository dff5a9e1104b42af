"""How a run can end without a result, each with its exit status on the command line."""


class InputError(ValueError):
    """The command, the configuration or the data is wrong: says where, and what to do. Exit status 2."""


class TrainingDiverged(ArithmeticError):
    """A number became NaN or infinite: names step, layer, quantity and cause. Exit status 1."""


class ProcessEnded(RuntimeError):
    """One of several processes has ended, and so the training: names it. Exit status 1."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM, SIGHUP: what was done is saved; the message says how to go on. Exit status 128 + the signal."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
