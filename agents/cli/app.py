"""The `arcfusion` command: which subcommands there are, and how an error leaves the process."""

import importlib
import os
import sys
from collections.abc import Iterable

import typer

from arcfusion import __version__
from arcfusion.agents.cli.output import print_error, print_note
from arcfusion.core.errors import ArcFusionError, ExitCode

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

app = typer.Typer(
    name="arcfusion",
    help="A lab in which agents look for better sequence models, and whose findings are true.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"arcfusion {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    del version


def register(application: typer.Typer, names: Iterable[str] = COMMANDS) -> None:
    """Add the named commands to the application; all when none is named."""
    for name in names:
        module = importlib.import_module(COMMANDS[name])
        if hasattr(module, "app"):
            application.add_typer(module.app, name=name)
        else:
            application.command(name)(module.command)


def main() -> None:
    """Run the command line; every error becomes one line on stderr and its exit code."""
    # Loading twenty commands to run one would cost a light command a third of its time.
    named = sys.argv[1] if len(sys.argv) > 1 else ""
    register(app, [named] if named in COMMANDS else COMMANDS)
    as_json = "--json" in sys.argv
    try:
        app()
    except ArcFusionError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print_note("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone: send the exit flush nowhere, silently.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILURE)
