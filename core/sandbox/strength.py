"""How strong a confinement is."""

from enum import StrEnum


class Tier(StrEnum):
    """What holds an untrusted program; compare with < and >=.

    none: a plain process. weak: limits, a clean environment, its own process group.
    good: also Landlock and seccomp, as an unprivileged user, without network.
    """

    NONE = "none"
    WEAK = "weak"
    GOOD = "good"

    @property
    def rank(self) -> int:
        """0 is the weakest."""
        return list(type(self)).index(self)

    def __lt__(self, other: object) -> bool:
        return self.rank < Tier(str(other)).rank

    def __le__(self, other: object) -> bool:
        return self.rank <= Tier(str(other)).rank

    def __gt__(self, other: object) -> bool:
        return self.rank > Tier(str(other)).rank

    def __ge__(self, other: object) -> bool:
        return self.rank >= Tier(str(other)).rank
