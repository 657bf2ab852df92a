"""Errors for the user."""


class InputError(ValueError):
    """Invalid input.

    The message names the input, what was found and what to do, in one or two sentences; front ends show it without a
    traceback. Raised before long work.
    """


class Cancelled(Exception):
    """Stops the work when raised from a progress callback."""
