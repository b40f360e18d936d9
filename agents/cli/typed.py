"""The commands as typer has them: for help, for wrong lines, and for what is not plain.

Importing this imports typer: only a line that `plain` does not read needs it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Annotated, Any

import typer
import typer.core

from arcfusion.agents.cli.output import Json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Command, Group, Option, list_parameters
from arcfusion.core.errors import BadInputError, ExitCode

# Typer keeps its copy of click to itself; of that copy's errors this one has a public child.
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]


class BadUsageError(BadInputError):
    """The command line is not one that the command takes."""


class _Deferred(typer.core.TyperCommand):
    """A command that is parsed and not run: the caller runs what it gets, as after a plain line."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # as typer has it
        assert self.callback is not None
        return partial(self.callback, **ctx.params)


def parse(group: Group, words: Sequence[str], *, as_json: bool) -> Callable[[], object]:
    """Return the call that the words ask for.

    Raises:
        BadUsageError: they ask for none.
        SystemExit: they ask for help or the version, which is printed.
    """
    app = build_app(group, words, cls=_Deferred)
    try:
        found = app([*words], standalone_mode=False)
    except USAGE_ERROR as error:
        text = str(error) if "\n" in str(error) else error.format_message()
        if "\n" in text and not as_json:  # a group without a verb answers with its help
            print_note(text)
            raise SystemExit(ExitCode.BAD_INPUT) from error
        message = f"{_one_line(text).rstrip('.')}: see `{_command_path(error)} --help`"
        raise BadUsageError(message) from error
    if not callable(found):
        raise SystemExit(found or ExitCode.DONE)
    call: Callable[[], object] = found
    return call


def build_app(
    found: Group | Command,
    words: Sequence[str] = (),
    *,
    cls: type[typer.core.TyperCommand] = typer.core.TyperCommand,
) -> typer.Typer:
    """Return a group, or a command alone, as an application.

    Args:
        found: what it does.
        words: of the command line; the verbs that they begin with are loaded alone. Without, or
            when they begin with none, everything is there.
        cls: of each command.
    """
    if isinstance(found, Group):
        return _build_group(found, words, cls)
    app = _new_app()
    app.command(cls=cls)(_declare(found))
    return app


def _build_group(
    group: Group, words: Sequence[str], cls: type[typer.core.TyperCommand]
) -> typer.Typer:
    needs_verb = group.default is None
    app = _new_app(
        help=group.help, no_args_is_help=needs_verb, invoke_without_command=not needs_verb
    )
    app.callback()(_own_options(group))
    # Loading twenty commands to run one would cost a light command a third of its time.
    for name in words[:1] if words and words[0] in group.verbs else group.verbs:
        found = group.load(name)
        if isinstance(found, Group):
            app.add_typer(_build_group(found, words[1:], cls), name=name)
        else:
            app.command(name, cls=cls)(_declare(found))
    return app


def _new_app(**settings: Any) -> typer.Typer:  # noqa: ANN401  # typer's own
    return typer.Typer(
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )


def _own_options(group: Group) -> Callable[..., object]:
    """Return the function whose parameters are the options of the group itself."""

    def show_version(value: bool) -> None:
        if value:
            print_text(str(group.version))
            raise typer.Exit

    def ask_version(
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        del version

    def run_default(
        context: typer.Context,
        json: Annotated[bool, _to_typer(Json.__metadata__[0])] = False,
    ) -> object:
        if context.invoked_subcommand is None:
            own: Any = context.command
            return own.commands[group.default].invoke(context)
        if json:
            raise BadInputError(f"put --json after {context.invoked_subcommand!r}")
        return None

    def have_none() -> None:
        """Keep the verb of a group that has one: typer would fold it into the group."""

    if group.default is not None:
        return run_default
    return have_none if group.version is None else ask_version


def _declare(command: Command) -> Command:
    """Return the command with typer's declarations in the place of ours."""
    twin = FunctionType(
        command.__code__,
        command.__globals__,
        command.__name__,
        command.__defaults__,
        command.__closure__,
    )
    twin.__doc__ = command.__doc__
    twin.__annotations__ = {
        one.name: Annotated[one.kind, _to_typer(one.declaration)]
        for one in list_parameters(command)
    }
    return twin


def _to_typer(declaration: Argument | Option) -> Any:  # noqa: ANN401  # typer says so
    if isinstance(declaration, Argument):
        return typer.Argument(metavar=declaration.metavar, help=declaration.help)
    return typer.Option(
        *declaration.flags, help=declaration.help, min=declaration.min, max=declaration.max
    )


def _command_path(error: Any) -> str:  # noqa: ANN401  # a USAGE_ERROR
    return error.ctx.command_path if error.ctx is not None else "arcfusion"


def _one_line(text: str) -> str:
    return "no verb is named" if "\n" in text else text
