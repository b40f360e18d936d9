"""How a command declares its words, and a group its verbs, without the parser.

Importing typer costs a verb of the queue as much as all the rest of it. So these stand in its
place: `plain` reads most lines by them alone, and `typed` hands them to typer for all the others.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

Command = Callable[..., None]
SomeCommand = TypeVar("SomeCommand", bound=Command)


class Argument(NamedTuple):
    """A word that is known by its place."""

    help: str
    metavar: str | None = None


class Option:
    """What follows a flag, or a flag alone when its parameter is a bool; numbers have bounds."""

    __slots__ = ("flags", "help", "max", "min")

    def __init__(
        self,
        *flags: str,
        help: str,  # noqa: A002  # as typer spells them
        min: int | None = None,  # noqa: A002
        max: int | None = None,  # noqa: A002
    ) -> None:
        self.flags = flags
        self.help = help
        self.min = min
        self.max = max


class Parameter(NamedTuple):
    """One parameter of a command: its type without the declaration, and the declaration."""

    name: str
    kind: Any
    declaration: Argument | Option
    is_required: bool


def list_parameters(command: Command) -> list[Parameter]:
    """Return the parameters of a command, each of which is annotated with its declaration."""
    annotations = [item for item in command.__annotations__.items() if item[0] != "return"]
    n_required = len(annotations) - len(command.__defaults__ or ())
    return [
        Parameter(name, annotation.__origin__, annotation.__metadata__[0], place < n_required)
        for place, (name, annotation) in enumerate(annotations)
    ]


class Group:
    """Commands and groups by the verb that names them.

    Args:
        help: what the group is about, in a line.
        places: `module:name` of verbs that are loaded when they are asked for.
        default: the verb that runs when none is named; it has `--json` and needs nothing.
        version: what `--version` prints.
    """

    def __init__(
        self,
        *,
        help: str,  # noqa: A002  # as typer spells it
        places: Mapping[str, str] | None = None,
        default: str | None = None,
        version: str | None = None,
    ) -> None:
        self.help = help
        self.default = default
        self.version = version
        self.verbs: dict[str, Command | Group | str] = {**(places or {})}

    def command(self, verb: str) -> Callable[[SomeCommand], SomeCommand]:
        """Make the decorated function a verb of the group."""

        def add(command: SomeCommand) -> SomeCommand:
            self.verbs[verb] = command
            return command

        return add

    def load(self, verb: str) -> "Command | Group":
        """Return what the verb names."""
        found = self.verbs[verb]
        if not isinstance(found, str):
            return found
        module, _, name = found.partition(":")
        loaded: Command | Group = getattr(importlib.import_module(module), name)
        return loaded
