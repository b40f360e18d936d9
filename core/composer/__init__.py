"""The composer: dreams architectures offline, out of the component library.

A strategy is one file with `propose(request, rng, index) -> Proposal | None` and one line in
`STRATEGIES`. Every dream is valid by construction, repeatable from its seed, and dropped when the
model that it builds is known.
"""

from arcfusion.core.composer.batch import (
    STRATEGIES,
    Dream,
    Dropped,
    UnknownStrategyError,
    dream,
)
from arcfusion.core.composer.grammar import Adjustment, Constraints

__all__ = [
    "STRATEGIES",
    "Adjustment",
    "Constraints",
    "Dream",
    "Dropped",
    "UnknownStrategyError",
    "dream",
]
