"""The `arcfusion` command: which subcommands there are, and how an error leaves the process."""

import importlib
import os
import sys

import typer

from arcfusion import __version__
from arcfusion.agents.cli.output import print_error, print_note
from arcfusion.core.errors import ArcFusionError, ExitCode

# One line a command. A module with `app` is a group of verbs, one with `command` is a command.
COMMANDS: dict[str, str] = {
    "init": "arcfusion.agents.cli.init",
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


def _register() -> None:
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(module_name)
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(module.command)


def main() -> None:
    """Run the command line; every error becomes one line on stderr and its exit code."""
    _register()
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
