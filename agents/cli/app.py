"""The `arcfusion` command: which subcommands there are, and how an error leaves the process."""

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any

import typer

from arcfusion import __version__
from arcfusion.agents.cli.output import print_error, print_note
from arcfusion.core.errors import ArcFusionError, BadInputError, ExitCode

# One line a command. A module with `app` is a group of verbs, one with `command` is a command.
COMMANDS: dict[str, str] = {
    "init": "arcfusion.agents.cli.init",
    "issue": "arcfusion.agents.cli.issue",
    "agent": "arcfusion.agents.cli.agent",
    "demo": "arcfusion.agents.cli.demo",
    "daily": "arcfusion.agents.cli.daily",
    "leaderboard": "arcfusion.agents.cli.leaderboard",
    "insights": "arcfusion.agents.cli.insights",
    "hypotheses": "arcfusion.agents.cli.hypotheses",
    "summary": "arcfusion.agents.cli.summary",
    "handoff": "arcfusion.agents.cli.handoff",
    "dream": "arcfusion.agents.cli.dream",
    "generate": "arcfusion.agents.cli.generate",
    "component": "arcfusion.agents.cli.component",
    "architecture": "arcfusion.agents.cli.architecture",
    "gate": "arcfusion.agents.cli.gate",
    "train": "arcfusion.agents.cli.train",
    "compare": "arcfusion.agents.cli.compare",
    "run": "arcfusion.agents.cli.run",
    "data": "arcfusion.agents.cli.data",
    "doctor": "arcfusion.agents.cli.doctor",
    "bench": "arcfusion.agents.cli.bench",
}


# Typer keeps its copy of click to itself; of that copy's errors this one has a public child.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]


class BadUsageError(BadInputError):
    """The command line is not one that the command takes."""


def _command_path(error: Any) -> str:  # noqa: ANN401  # a USAGE_ERROR
    return error.ctx.command_path if error.ctx is not None else "arcfusion"


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"arcfusion {__version__}\n")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    del version


def build_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the application with the named commands; with all when none is named."""
    app = typer.Typer(
        name="arcfusion",
        help="A lab in which agents look for better sequence models, and whose findings are true.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module = importlib.import_module(COMMANDS[name])
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(module.command)
    return app


def main() -> None:
    """Run the command line; every error becomes one line on stderr and its exit code."""
    # Loading twenty commands to run one would cost a light command a third of its time.
    named = sys.argv[1] if len(sys.argv) > 1 else ""
    as_json = "--json" in sys.argv
    try:
        code = build_app([named] if named in COMMANDS else COMMANDS)(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)
    except USAGE_ERROR as error:
        text = str(error) if "\n" in str(error) else error.format_message()
        if "\n" in text:  # a group without a verb answers with its help
            print_note(text)
        else:
            message = f"{text.rstrip('.')}: see `{_command_path(error)} --help`"
            print_error(BadUsageError(message), as_json=as_json)
        sys.exit(ExitCode.BAD_INPUT)
    except ArcFusionError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print_note("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone: send the exit flush nowhere, silently.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILURE)
