"""The commands of the shell: which there are, what they print, what they return."""

import subprocess
import sys
from pathlib import Path

import pytest

from wan_animate import cli
from wan_animate.cli import app
from wan_animate.cli.run import parsed
from wan_animate.errors import InputError

from .test_options import inputs  # noqa: F401  (a fixture)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", ["wan_animate", "wan_animate.cli"])
def test_the_program_as_a_module(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "reproduce" in done.stdout and "Exit codes" in done.stdout


@pytest.mark.parametrize("name", [name for name, module in app.COMMANDS.items() if app.there(module)])
def test_every_command_has_help_with_examples(name, capsys):
    assert cli.main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"wan-animate {name}" in said and "xample" in said
    assert "--install-completion" not in said


def test_a_command_whose_package_is_not_there_is_not_listed(monkeypatch, capsys):
    monkeypatch.setitem(app.COMMANDS, "hum", "..no_such_package.command")
    assert cli.main(["--help"]) == 0
    assert " hum " not in capsys.readouterr().out
    assert cli.main(["hum"]) == 2
    assert capsys.readouterr().err == "wan-animate: No such command 'hum': see wan-animate --help.\n"


def test_without_a_command_it_is_run(inputs, tmp_path, capsys):  # noqa: F811
    given = [f"--{name}={value}" for name, value in (inputs | {"out": tmp_path / "a.mp4"}).items()]
    for command in ([], ["run"]):
        assert cli.main([*command, *given, "--no-retarget", "--plan"]) == 0
    first, second = capsys.readouterr().out.split("| Clip |")[1:]
    assert first.splitlines()[0] == second.splitlines()[0]


def test_plan_needs_neither_models_nor_a_place(inputs, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    given = [f"--{name}={value}" for name, value in inputs.items() if name not in ("models", "prompt-file")]
    assert cli.main(["plan", *given, "--no-retarget"]) == 0
    assert "| Clip | 5 frames" in capsys.readouterr().out and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--image", "a.png"], "wan-animate run: Missing option '--video': see wan-animate run --help."),
        (["run", "--steps=many"], "--steps"),
        (["run", "--no-such"], "No such option"),
        (["runn"], "Did you mean 'run'?"),
        (["plan", "--image=a", "--video=b", "--mode=sing"], "--mode"),
        (["run", *"--image=a --video=b --out=c --models=d --prompt-for 5".split()], "the first and the last frame"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(capsys, arguments, says):
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line and line.startswith("wan-animate")


def test_nothing_given_shows_the_help(capsys):
    assert cli.main([]) == 2
    said = capsys.readouterr()
    assert "Commands" in said.out + said.err


def test_three_words_of_a_prompt():
    given = ["--image=a", "--video=b", "--out=c", "--models=d"]
    more = ["--prompt-for", "0", "9", "one  two", "--prompt-for", "10", "-1", "", "--prompt-for=20 30 three"]
    assert parsed([*given, *more]).prompt_for == [["0", "9", "one  two"], ["10", "-1", ""], ["20", "30", "three"]]
    with pytest.raises(InputError, match="Missing option"):
        parsed(given[1:])
