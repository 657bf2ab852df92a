"""Errors meant for the person at the screen."""


class InputError(ValueError):
    """The caller gave something that cannot work.

    The message is one sentence (two at most) that names the input, says what was found and what to do about it.
    Raised before any long work starts; front ends show the text as it is, without a traceback.
    """


class Cancelled(Exception):
    """The caller asked for the work to stop. Raised from a progress callback; nothing half-written stays behind."""
