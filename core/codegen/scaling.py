"""How the sizes inside a block follow the model's width, as text that Python can evaluate.

A component says which arguments it builds from at one width. Generated code is built at other
widths without this package, so each argument is written as a law of `d_model`, checked at several
widths; an argument that follows none of the laws is fixed to its width.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from arcfusion.core.blocks import load_component
from arcfusion.core.blocks.component import Argument
from arcfusion.core.spec import ArchSpec, Choice

MAX_WIDTH = 16_384
CHECKED_MULTIPLES = (1, 2, 3, 5, 16, 17, 64)


class Law(NamedTuple):
    """One way in which a size may follow the width: as text, and as a function."""

    text: str
    compute: Callable[[int], Argument]


class Scaling(NamedTuple):
    """The arguments of a block as text, and the widths at which they hold.

    Attributes:
        arguments: an expression of `d_model` by argument name.
        multiple: widths must be multiples of this; 0: only the spec's own width.
    """

    arguments: dict[str, str]
    multiple: int


def compute_scaling(choice: Choice, spec: ArchSpec) -> Scaling:
    """Find the laws that a component's arguments follow, starting from its width in the spec."""
    component = load_component(choice.kind)
    multiple = _width_multiple(choice, spec)
    widths = [spec.d_model, *(m * multiple for m in CHECKED_MULTIPLES if m * multiple <= MAX_WIDTH)]
    seen = {
        d: component.arguments(choice.resized(spec.d_model, d).parsed(), d, spec)
        for d in widths
        if d
    }
    arguments = {}
    for name, value in seen[spec.d_model].items():
        values = {d: found[name] for d, found in seen.items()}
        law = next((law for law in _laws(value, choice) if _holds(law, values)), None)
        arguments[name] = repr(value) if law is None else law.text
        multiple = 0 if law is None else multiple
    return Scaling(arguments, multiple)


def _laws(value: Argument, choice: Choice) -> Iterator[Law]:
    """Yield the laws to try, the plainest first."""
    yield Law(repr(value), lambda _d_model: value)
    yield Law("d_model", lambda d_model: d_model)
    yield Law("math.ceil(d_model / 16)", lambda d_model: math.ceil(d_model / 16))
    defaults = load_component(choice.kind).options().model_dump()
    for number in [*choice.options.values(), *defaults.values()]:
        if type(number) is int:
            yield _times(number)
        elif type(number) is float:
            yield _times_in_eights(number)


def _times(factor: int) -> Law:
    return Law(f"{factor} * d_model", lambda d_model: factor * d_model)


def _times_in_eights(factor: float) -> Law:
    return Law(
        f"8 * math.ceil({factor!r} * d_model / 8 - 1e-9)",
        lambda d_model: 8 * math.ceil(factor * d_model / 8 - 1e-9),
    )


def _holds(law: Law, values: Mapping[int, Argument]) -> bool:
    return all(law.compute(d) == value for d, value in values.items())


def _width_multiple(choice: Choice, spec: ArchSpec) -> int:
    """Return m if the block can be built at the multiples of m and at no other width, else 0."""
    options = choice.parsed()
    multiple = next(d for d in range(1, spec.d_model + 1) if not options.problems(d, spec))
    widths = range(1, 3 * multiple + 1)
    is_rule = all((d % multiple == 0) != bool(options.problems(d, spec)) for d in widths)
    return multiple if is_rule else 0
