"""The guard of every fit: a number that stopped being finite is an error, never a parameter."""


class NumericError(ArithmeticError):
    """A number that must be finite is not."""

    exit_code = 7
