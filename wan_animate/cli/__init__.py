"""The main job from a shell, with diffusers: ``wan-animate --help``."""

from __future__ import annotations

import sys

# Everything else is imported where it is used: Ctrl+C during imports, which take seconds, would end in a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

STOPPED = 130  # as shells have it for a program that Ctrl+C ended: 128 and the signal's number


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, 1 for a clip reproduced with other frames or a finding of ``doctor``, 2 for input that
    does not work, :data:`STOPPED` after Ctrl+C."""
    from ..interrupt import is_interrupt, whole_imports

    try:
        with whole_imports():
            from ..errors import InputError
            from .app import execute
            from .progress import close, line_end
        try:
            return execute(sys.argv[1:] if arguments is None else arguments)
        finally:
            close()
    except BaseException as error:
        if is_interrupt(error):
            from .progress import line_end

            line_end(
                "wan-animate: stopped; run the same command again to go on from the last finished segment, if there is "
                "one."
            )
            return STOPPED
        if not isinstance(error, InputError):
            raise
        line_end(f"wan-animate: {error}")
        return 2


def program() -> NoReturn:
    """The shell's command."""
    code = main()
    if code == STOPPED:
        from ..interrupt import end_by_interrupt

        end_by_interrupt()
    sys.exit(code)
