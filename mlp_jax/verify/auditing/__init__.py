"""Every gradient rule that a program uses, checked at the arguments that it is used at."""
