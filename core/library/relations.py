"""How well two components are known to go together: counted, not felt.

    score(a, b) = 0                                if what leaves a can not enter b
                = PRIOR + (1 - PRIOR) J(a, b)      otherwise

J is the Jaccard index of the sets of known engines that contain a and b: engines with both, over
engines with either. A pair that nobody has published keeps the prior: possible, without evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from arcfusion.core.blocks import component_names, load_component
from arcfusion.core.library.engines import Engine

PRIOR = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Two components (`first` < `second`), their score in [0, 1] and the engines that have both."""

    first: str
    second: str
    score: float
    evidence: tuple[str, ...]


class Relations:
    """The relations of all components, from a list of engines."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = {
            name: {e.name for e in engines if name in e.components()} for name in component_names()
        }

    def score(self, a: str, b: str) -> float:
        """Return how well b follows a; a component with itself counts its own engines."""
        if not load_component(a).output_port.fits(load_component(b).input_port):
            return 0.0
        either = self._engines[a] | self._engines[b]
        both = self._engines[a] & self._engines[b]
        return PRIOR + (1 - PRIOR) * (len(both) / len(either) if either else 0.0)

    def list(self) -> list[Relation]:
        """Return every pair once, best first."""
        pairs = [
            Relation(
                first=first,
                second=second,
                score=self.score(first, second),
                evidence=tuple(sorted(self._engines[first] & self._engines[second])),
            )
            for first, second in combinations(sorted(component_names()), 2)
        ]
        return sorted(pairs, key=lambda r: (-r.score, r.first, r.second))
