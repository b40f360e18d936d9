"""A component's entry in the library: taken from its `COMPONENT`, with its source checked."""

import re
from dataclasses import dataclass

from arcfusion.core.blocks import component_names, load_component
from arcfusion.core.errors import BadInputError

FIRST_YEAR = 1943  # McCulloch and Pitts: there is no older neural network
_ARXIV_ID = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


class ImpossibleYearError(BadInputError):
    """The year can not be that of the paper."""


class UnknownComponentError(BadInputError):
    """There is no component of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A paper: a citation, its year, and its arXiv number where it has one."""

    citation: str
    year: int
    arxiv_id: str | None

    @property
    def paper_id(self) -> str:
        """The arXiv number, else the citation."""
        return f"arXiv:{self.arxiv_id}" if self.arxiv_id else self.citation


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the library says about a component. Ports are axis letters; options are defaults."""

    name: str
    category: str
    description: str
    input_port: str
    output_port: str
    options: dict[str, int | float | bool | str]
    factory: str
    source: Source
    time_complexity: str
    space_complexity: str
    causal: bool
    stateful: bool


def parse_source(citation: str, year: int, *, this_year: int) -> Source:
    """Return the paper, after checking that the year can be right.

    Raises:
        ImpossibleYearError: before 1943, after this year, or more than two years away from the
            paper's arXiv number (2312.00752 is of 2023; it is not the year 2312).
    """
    if not FIRST_YEAR <= year <= this_year:
        raise ImpossibleYearError(
            f"{citation!r} can not be of {year}: allowed are {FIRST_YEAR} to {this_year}"
        )
    found = _ARXIV_ID.search(citation)
    if found is None:
        return Source(citation=citation, year=year, arxiv_id=None)
    arxiv_year = 2000 + int(found[1][:2])
    if abs(year - arxiv_year) > 2:
        raise ImpossibleYearError(f"{citation!r} is of {arxiv_year}, not of {year}")
    return Source(citation=citation, year=year, arxiv_id=found[1])


def load_record(name: str, *, this_year: int) -> Record:
    """Return the library's entry of a component; imports its file.

    Raises:
        UnknownComponentError: there is none; the message lists those there are.
        ImpossibleYearError: as `parse_source`.
    """
    if name not in component_names():
        raise UnknownComponentError(
            f"unknown component {name!r}: known are {', '.join(component_names())}"
        )
    component = load_component(name)
    return Record(
        name=component.name,
        category=component.category,
        description=component.description,
        input_port=f"{component.input_port.shape} {component.input_port.dtype}",
        output_port=f"{component.output_port.shape} {component.output_port.dtype}",
        options=component.options().model_dump(),
        factory=component.factory,
        source=parse_source(component.source, component.year, this_year=this_year),
        time_complexity=component.time_complexity,
        space_complexity=component.space_complexity,
        causal=component.causal,
        stateful=component.stateful,
    )


def load_records(*, this_year: int) -> list[Record]:
    """Return the entries of all components, in table order."""
    return [load_record(name, this_year=this_year) for name in component_names()]
