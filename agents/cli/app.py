"""The `arcfusion` command: which subcommands there are, and how an error leaves the process."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from arcfusion import __version__
from arcfusion.agents.cli.output import print_error, print_note
from arcfusion.agents.cli.parameter import Command, Group
from arcfusion.core.errors import ArcFusionError, BadInputError, ExitCode

# One line a command. A module with `command` is a command, one with `app` a group of verbs, one
# with `VERBS` a group that loads only the verb that is asked for.
COMMANDS: dict[str, str] = {
    "init": "arcfusion.agents.cli.init",
    "upgrade": "arcfusion.agents.cli.upgrade",
    "backup": "arcfusion.agents.cli.backup",
    "restore": "arcfusion.agents.cli.restore",
    "issue": "arcfusion.agents.cli.issue",
    "agent": "arcfusion.agents.cli.agent",
    "demo": "arcfusion.agents.cli.demo",
    "prime": "arcfusion.agents.cli.prime",
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


class InterruptedByPersonError(ArcFusionError):
    """Interrupted."""

    exit_code = ExitCode.INTERRUPTED
    retryable = True


def _command_path(error: Any) -> str:  # noqa: ANN401  # a USAGE_ERROR
    return error.ctx.command_path if error.ctx is not None else "arcfusion"


def _one_line(text: str) -> str:
    return "no verb is named" if "\n" in text else text


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


def build_app(words: Sequence[str] = ()) -> typer.Typer:
    """Return the application.

    Args:
        words: of the command line; the command and the verb that they begin with are loaded alone.
            Without, or when they begin with none, everything is there.
    """
    app = typer.Typer(
        name="arcfusion",
        cls=Group,
        help="A lab in which agents look for better sequence models, and whose findings are true.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    # Loading twenty commands to run one would cost a light command a third of its time.
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        module = importlib.import_module(COMMANDS[name])
        if hasattr(module, "VERBS"):
            verbs = words[1:2] if len(words) > 1 and words[1] in module.VERBS else module.VERBS
            app.add_typer(module.build_app(verbs), name=name)
        elif hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name, cls=Command)(module.command)
    return app


def main() -> None:
    """Run the command line; every error becomes one line on stderr and its exit code."""
    as_json = "--json" in sys.argv
    try:
        code = build_app(sys.argv[1:])(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)
    except USAGE_ERROR as error:
        text = str(error) if "\n" in str(error) else error.format_message()
        if "\n" in text and not as_json:  # a group without a verb answers with its help
            print_note(text)
        else:
            message = f"{_one_line(text).rstrip('.')}: see `{_command_path(error)} --help`"
            print_error(BadUsageError(message), as_json=as_json)
        sys.exit(ExitCode.BAD_INPUT)
    except ArcFusionError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        if as_json:
            print_error(InterruptedByPersonError(), as_json=True)
        else:
            print_note("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone: send the exit flush nowhere, silently.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILURE)
