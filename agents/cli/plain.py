"""The lines that need no parser: known flags, one value each, nothing that can be read two ways.

What is not read here is not wrong. It is for typer to say what it means, with typer's own rules
and messages.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from arcfusion.agents.cli.parameter import (
    Argument,
    Command,
    Group,
    Option,
    Parameter,
    list_parameters,
)

MAX_DIGITS = 18

_TEXTS = (str, str | None)
_LISTS = (list[str], list[str] | None)
_NUMBERS = (int, int | None)
_FRACTIONS = (float, float | None)
_PATHS = (Path, Path | None)


def parse(group: Group, words: Sequence[str]) -> Callable[[], None] | None:
    """Return the call that the words ask for; None when only typer can say what they mean."""
    found: Group | Command = group
    rest = [*words]
    while isinstance(found, Group):
        if found.default is not None and rest in ([], ["--json"]):
            found = found.load(found.default)
        elif rest and rest[0] in found.verbs:
            found = found.load(rest.pop(0))
        else:
            return None
    values = read(found, rest)
    return None if values is None else partial(found, **values)


def read(command: Command, words: Sequence[str]) -> dict[str, object] | None:
    """Return the values of the parameters that are named; None when the line is not plain."""
    parameters = list_parameters(command)
    try:
        found = _match(parameters, words)
        values = {p.name: _convert(p, found[p.name]) for p in parameters if p.name in found}
    except ValueError:
        return None
    is_whole = all(p.name in values for p in parameters if p.is_required)
    return values if is_whole else None


def _match(parameters: Sequence[Parameter], words: Sequence[str]) -> dict[str, list[str]]:
    """Return the words of each parameter; a switch has an empty one.

    Raises:
        ValueError: a word may be more than a name or a value.
    """
    places = iter([one for one in parameters if isinstance(one.declaration, Argument)])
    switches = _by_flag([one for one in parameters if one.kind is bool])
    options = _by_flag([one for one in parameters if one.kind is not bool])
    found: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        flag, sign, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if word in switches:
            parameter = switches[word]
        elif flag in options:
            parameter = options[flag]
            value = value if sign else next(rest, "-")
        else:
            parameter, value = next(places, None), word
        if parameter is None or value.startswith("-"):
            raise ValueError(word)
        found.setdefault(parameter.name, []).append(value)
    return found


def _by_flag(parameters: Sequence[Parameter]) -> dict[str, Parameter | None]:
    return {
        flag: parameter
        for parameter in parameters
        if isinstance(parameter.declaration, Option)
        for flag in parameter.declaration.flags
    }


def _convert(parameter: Parameter, words: Sequence[str]) -> object:
    """Return the value of a parameter.

    Raises:
        ValueError: it has several words, or one that typer may refuse.
    """
    if parameter.kind in _LISTS:
        return [*words]
    (word,) = words
    if parameter.kind is bool:
        return True
    if parameter.kind in _TEXTS:
        return word
    if parameter.kind in _PATHS:
        return Path(word)
    return _number(parameter, word)


def _number(parameter: Parameter, word: str) -> float:
    declaration = parameter.declaration
    is_whole = parameter.kind in _NUMBERS
    if isinstance(declaration, Argument) or not (is_whole or parameter.kind in _FRACTIONS):
        raise ValueError(parameter.name)
    digits = word if is_whole else word.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
        raise ValueError(word)
    number = int(word) if is_whole else float(word)
    low, high = declaration.min, declaration.max
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(word)
    return number
