"""``wan-animate queue`` by itself; as a program: ``python -m tests.support.queue_command``."""

import sys

from typer.main import get_command

from wan_animate.errors import InputError
from wan_animate.queue.command import app


def main(arguments: list[str]) -> int:
    """The exit code, as the shell has it."""
    command = get_command(app)
    try:
        with command.make_context("wan-animate queue", list(arguments)) as context:
            return command.invoke(context) or 0
    except InputError as error:
        print(f"wan-animate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
