"""Errors for the user."""


class InputError(ValueError):
    """Invalid input, raised before long work.

    The message, shown without a traceback, names the input, what was found and what to do in one or two sentences.
    """


class Cancelled(Exception):
    """Stops the work when raised from a progress callback."""
