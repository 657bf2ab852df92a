"""The commands of ``wan-animate``. Each is imported when it is called."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from ..interrupt import whole_imports

COMMANDS = {
    "run": ".run",
    "plan": ".plan",
    "reproduce": ".reproduce",
    "preprocess": ".preprocess",
    "generate": ".generate",
    "batch": "..batch.command",
    "queue": "..queue.command",
    "export": "..export.command",
    "models": "..models.command",
    "jobs": ".jobs",
    "doctor": ".doctor",
}
"""Command -> the module whose ``app`` it is, in the order of --help."""

OWN = {"install_completion", "show_completion"}  # of the whole program, which typer gives each app
COMPLETION = "_WAN_ANIMATE_COMPLETE"  # set by the shell when Tab is pressed


def there(module: str) -> bool:
    try:
        return find_spec(module, __package__) is not None
    except ModuleNotFoundError:  # of its package
        return False


class Commands(TyperGroup):
    """Imports a command when it is asked for; without the name of one, it is ``run``."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name, module in COMMANDS.items() if there(module)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands and cmd_name in self.list_commands(ctx):
            with whole_imports():
                app = import_module(COMMANDS[cmd_name], __package__).app
            command = self.commands[cmd_name] = get_command(app)
            command.name = cmd_name
            command.params = [one for one in command.params if one.name not in OWN]
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args[0] not in self.list_commands(ctx):
            for name in self.list_commands(ctx):  # for "Did you mean"
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if args and args[0].startswith("-") and args[0].split("=")[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="wan-animate",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog="[bold]wan-animate --image me.png --video dance.mp4 ...[/] is wan-animate run. "
    "[bold]wan-animate COMMAND --help[/] has examples.\n\n"
    "Exit codes: 0 done, 1 other frames or something wrong found, 2 input that does not work, 130 stopped by Ctrl+C.",
)


def _version(wanted: bool) -> None:
    if wanted:
        with whole_imports():
            from ..record.versions import kit_version

        print(f"WanAnimateKit {kit_version()}")
        raise typer.Exit()


@app.callback()
def start(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """One character picture and one driving video in, a finished clip out (Wan 2.2 Animate)."""


def execute(arguments: list[str]) -> int:
    """Run a command; returns its exit code. Errors of the command itself are raised, those of its use printed."""
    command = get_command(app)
    if os.environ.get(COMPLETION):
        command.main(arguments, prog_name="wan-animate", standalone_mode=False)
        return 0
    try:
        # not main(), which answers Ctrl+C in its own way
        with command.make_context("wan-animate", list(arguments)) as context:
            code = command.invoke(context)
    except typer.Exit as left:
        return left.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        from .progress import line_end

        text = error.format_message()
        if text.strip():
            path = getattr(getattr(error, "ctx", None), "command_path", "wan-animate")
            line_end(f"{path}: {text.rstrip('.')}: see {path} --help.")
        return 2
    return code or 0
