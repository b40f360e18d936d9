"""This fails when a command or option is not explained, or a document shows an unknown one."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from arcfusion.agents.cli import app as cli
from arcfusion.agents.cli.typed import build_app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root_command() -> object:
    return typer.main.get_command(build_app(cli.ROOT))


def walk(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, (*path, name))


def test_every_command_and_option_has_help(root_command: object) -> None:
    silent = []
    for path, command in walk(root_command):
        if path and not command.help:
            silent.append(" ".join(path))
        for parameter in command.params:
            if parameter.name != "help" and not getattr(parameter, "help", None):
                silent.append(" ".join((*path, str(parameter.name))))
    assert silent == []


def test_every_command_is_in_the_readme_or_the_guide(root_command: object) -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "AGENTS.md").read_text()
    missing = [name for name in root_command.commands if f"arcfusion {name}" not in text]
    assert missing == []


@pytest.mark.parametrize("document", ["README.md", "AGENTS.md"])
def test_every_command_that_a_document_shows_exists(document: str, root_command: object) -> None:
    application = build_app(cli.ROOT)
    shown = re.findall(
        r"^ *(?:\$ )?(arcfusion [^\n#`]+)", (ROOT / document).read_text(), re.MULTILINE
    )
    assert shown
    paths = {path for path, _ in walk(root_command)}
    for line in shown:
        words = shlex.split(line.replace("[", " ").replace("]", " "))[1:]
        path: tuple[str, ...] = ()
        while len(path) < len(words) and (*path, words[len(path)]) in paths:
            path = (*path, words[len(path)])
        assert path, line
        result = CliRunner().invoke(application, [*path, "--help"])
        assert result.exit_code == 0, line
        for option in re.findall(r"(?<= )--[a-z-]+", " " + line):
            assert option in result.output, (line, option)
