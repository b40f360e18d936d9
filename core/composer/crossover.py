"""The strategy `crossover`: the first layers of one parent, the last layers of another.

A single parent is crossed with the known engines.
"""

from collections.abc import Sequence
from random import Random

from arcfusion.core.composer.grammar import try_replaced
from arcfusion.core.composer.proposal import Proposal, Request
from arcfusion.core.errors import BadInputError
from arcfusion.core.spec import ArchSpec

DRAWS = 20


class TooFewParentsError(BadInputError):
    """A crossover needs two different parents."""


def propose(request: Request, rng: Random, index: int) -> Proposal | None:
    """Cross two drawn parents; every layer, the norm, the position and the head come from one.

    Raises:
        TooFewParentsError: fewer than two different parents.
    """
    del index
    distinct = _distinct(request.parents)
    mates = distinct if len(distinct) > 1 else _distinct((*distinct, *request.engine_specs))
    if len(mates) < 2:
        raise TooFewParentsError(
            "crossover needs two different parents at this width: name them with --parent "
            "(a spec, a preset or an engine)"
        )
    for _ in range(DRAWS):
        one = rng.choice(distinct)
        first, second = rng.sample((one, rng.choice([m for m in mates if m != one])), 2)
        head_count = rng.randint(1, len(first.layers))
        tail_start = rng.randrange(len(second.layers))
        layers = (*first.layers[:head_count], *second.layers[tail_start:])
        c = request.grammar.constraints
        if not c.min_layers <= len(layers) <= c.max_layers:
            continue
        givers = [rng.choice((first, second)) for _ in range(3)]
        child = try_replaced(
            first,
            layers=layers,
            norm=givers[0].norm,
            position=givers[1].position,
            tied_head=givers[2].tied_head,
        )
        if child is None:
            continue
        child, adjustments = request.grammar.tidy(child)
        if child.digest() in (first.digest(), second.digest()):
            continue
        return Proposal(
            spec=child,
            parents=(first, second),
            reasoning=f"Layers 0 to {head_count - 1} of {first.name}, then layers {tail_start} to "
            f"{len(second.layers) - 1} of {second.name}; norm from {givers[0].name}, "
            f"position from {givers[1].name}, head from {givers[2].name}.",
            adjustments=adjustments,
        )
    return None


def _distinct(specs: Sequence[ArchSpec]) -> list[ArchSpec]:
    return list({spec.digest(): spec for spec in specs}.values())
