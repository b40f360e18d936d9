"""What a strategy gets and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from arcfusion.core.composer.grammar import Adjustment, Grammar
from arcfusion.core.library.engines import Engine
from arcfusion.core.library.relations import Relations
from arcfusion.core.spec import ArchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The ground on which a strategy stands, the same for every proposal of a batch."""

    grammar: Grammar
    relations: Relations
    engines: tuple[Engine, ...]
    engine_specs: tuple[ArchSpec, ...]
    """The engines that can be built at the grammar's sizes, at those sizes."""
    parents: tuple[ArchSpec, ...]
    """Those that were asked for, at the grammar's sizes; else the engines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One architecture, where it comes from and why, in plain words."""

    spec: ArchSpec
    parents: tuple[ArchSpec, ...] = ()
    reasoning: str
    adjustments: tuple[Adjustment, ...] = ()


# Index counts the proposals of a batch from 0; None: nothing new came of this draw.
Strategy = Callable[[Request, Random, int], Proposal | None]


def describe_layers(kinds: Sequence[str]) -> str:
    """Write kinds with repeats counted: mamba1, mamba1, mha -> "2 x mamba1, mha"."""
    runs: list[tuple[str, int]] = []
    for kind in kinds:
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] + 1)
        else:
            runs.append((kind, 1))
    return ", ".join(kind if count == 1 else f"{count} x {kind}" for kind, count in runs)
