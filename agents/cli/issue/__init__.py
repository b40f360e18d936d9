"""`arcfusion issue`: the queue on the command line. One module a family of verbs."""

import importlib
from collections.abc import Iterable

import typer

from arcfusion.agents.cli.parameter import Command, Group

# Module and name in it, by verb. Only the module of the verb that runs is loaded: the others cost
# as much as a claim. A name that ends in `_app` is a group of verbs.
VERBS: dict[str, str] = {
    "create": "filing.create",
    "ready": "listing.ready",
    "list": "listing.list_issues",
    "show": "listing.show",
    "blocked": "listing.blocked",
    "events": "listing.events",
    "claim": "working.claim",
    "heartbeat": "working.heartbeat",
    "checkpoint": "working.checkpoint",
    "release": "working.release",
    "ask": "working.ask",
    "answer": "filing.answer",
    "fail": "working.fail",
    "close": "working.close",
    "reopen": "filing.reopen",
    "requeue": "filing.requeue",
    "update": "filing.update",
    "comment": "filing.comment",
    "note": "filing.note",
    "import": "exchange.import_issues",
    "export": "exchange.export",
    "verify": "exchange.verify",
    "doctor": "doctor.doctor",
    "schedule": "planning.schedule",
    "split": "planning.split",
    "gate": "planning.gate",
    "capacity": "capacity.capacity",
    "remember": "memory.remember",
    "recall": "memory.recall",
    "memories": "memory.memories",
    "forget": "memory.forget",
    "dep": "dependency.dep_app",
    "label": "dependency.label_app",
}


def build_app(verbs: Iterable[str] = VERBS) -> typer.Typer:
    """Return the group with the named verbs; with all when none is named."""
    app = typer.Typer(
        help="The queue: what to do, who does it, how it ended.", no_args_is_help=True, cls=Group
    )
    for verb in verbs:
        module, _, name = VERBS[verb].partition(".")
        found = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=verb)
        else:
            app.command(verb, cls=Command)(found)
    return app
