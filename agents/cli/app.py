"""The `arcfusion` command: which subcommands there are, and how an error leaves the process."""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence

from arcfusion import __version__
from arcfusion.agents.cli import plain
from arcfusion.agents.cli.output import print_error, print_note
from arcfusion.agents.cli.parameter import Group
from arcfusion.core.errors import ArcFusionError, ExitCode

# One line a command: where its function or its group of verbs is.
COMMANDS: dict[str, str] = {
    "init": "arcfusion.agents.cli.init:command",
    "upgrade": "arcfusion.agents.cli.upgrade:command",
    "backup": "arcfusion.agents.cli.backup:command",
    "restore": "arcfusion.agents.cli.restore:command",
    "issue": "arcfusion.agents.cli.issue:app",
    "agent": "arcfusion.agents.cli.agent:app",
    "demo": "arcfusion.agents.cli.demo:command",
    "prime": "arcfusion.agents.cli.prime:command",
    "daily": "arcfusion.agents.cli.daily:command",
    "leaderboard": "arcfusion.agents.cli.leaderboard:command",
    "insights": "arcfusion.agents.cli.insights:app",
    "hypotheses": "arcfusion.agents.cli.hypotheses:app",
    "summary": "arcfusion.agents.cli.summary:app",
    "handoff": "arcfusion.agents.cli.handoff:command",
    "dream": "arcfusion.agents.cli.dream:command",
    "generate": "arcfusion.agents.cli.generate:command",
    "component": "arcfusion.agents.cli.component:app",
    "architecture": "arcfusion.agents.cli.architecture:app",
    "gate": "arcfusion.agents.cli.gate:app",
    "train": "arcfusion.agents.cli.train:command",
    "compare": "arcfusion.agents.cli.compare:command",
    "run": "arcfusion.agents.cli.run:app",
    "data": "arcfusion.agents.cli.data:app",
    "doctor": "arcfusion.agents.cli.doctor:command",
    "bench": "arcfusion.agents.cli.bench:command",
}

ROOT = Group(
    help="A lab in which agents look for better sequence models, and whose findings are true.",
    places=COMMANDS,
    version=f"arcfusion {__version__}",
)


class InterruptedByPersonError(ArcFusionError):
    """Interrupted."""

    exit_code = ExitCode.INTERRUPTED
    retryable = True


def main() -> None:
    """Run the command line; every error becomes one line on stderr and its exit code."""
    # The interpreter looks for garbage among all that is loaded before it throws all of it away:
    # 7 of the 82 ms of a light verb.
    atexit.register(gc.freeze)
    words = sys.argv[1:]
    as_json = "--json" in words
    try:
        run = plain.parse(ROOT, words) or _ask_typer(words, as_json=as_json)
        run()
        sys.exit(ExitCode.DONE)
    except ArcFusionError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        if as_json:
            print_error(InterruptedByPersonError(), as_json=True)
        else:
            print_note("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone: send the exit flush nowhere, silently.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(ExitCode.FAILURE)


def _ask_typer(words: Sequence[str], *, as_json: bool) -> Callable[[], object]:
    from arcfusion.agents.cli import typed

    return typed.parse(ROOT, words, as_json=as_json)
