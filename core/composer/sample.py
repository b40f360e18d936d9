"""The strategy `random`: every component and setting of the grammar with equal chance.

The baseline that any cleverer strategy has to beat.
"""

from random import Random

from arcfusion.core.composer.grammar import NORMS, POSITIONS
from arcfusion.core.composer.proposal import Proposal, Request, describe_layers

LONGEST_UNIT = 4


def propose(request: Request, rng: Random, index: int) -> Proposal:
    """Draw a unit of layers and repeat it to a drawn depth; a third are not repeated at all."""
    del index
    grammar, constraints = request.grammar, request.grammar.constraints
    depth = rng.randint(constraints.min_layers, constraints.max_layers)
    is_free = rng.random() < 1 / 3
    length = depth if is_free else rng.randint(1, min(LONGEST_UNIT, depth))
    position = rng.choice(POSITIONS)
    unit = [grammar.draw_layer(rng, position) for _ in range(length)]
    layers = tuple(unit[i % length] for i in range(depth))
    spec = grammar.build(
        layers, norm=rng.choice(NORMS), position=position, tied_head=rng.random() < 0.5
    )
    spec, adjustments = grammar.tidy(spec)
    drawn = describe_layers([f"{x.mixer.kind}+{x.channel.kind}" for x in unit])
    how = "each drawn by itself" if length == depth else f"a unit of {length} repeated"
    return Proposal(
        spec=spec,
        reasoning=f"Drawn with equal chances from the grammar: {depth} layers, {how}: {drawn}; "
        f"{spec.norm}, position {spec.position}.",
        adjustments=adjustments,
    )
