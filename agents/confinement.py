"""The operator's demand on the sandbox, and whether this machine meets it.

Only a flag or the environment of the operator can lower it; no text of an issue, a file in a
repository or a model's answer is ever asked.
"""

from typing import TYPE_CHECKING

from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from arcfusion.core.sandbox.strength import Tier


def demand_tier(flag: str | None) -> "Tier":
    """Return the weakest tier allowed: the flag, else ARCFUSION_SANDBOX; it holds here.

    Raises:
        BadInputError: there is no such tier.
        SandboxTooWeakError: this machine's sandbox is weaker.
    """
    from arcfusion.core.sandbox.strength import Tier
    from arcfusion.core.sandbox.tier import require_tier
    from arcfusion.core.settings import load_settings

    name = flag or load_settings().sandbox
    if name not in set(Tier):
        raise BadInputError(f"unknown sandbox {name!r}: there is {', '.join(Tier)}")
    tier = Tier(name)
    require_tier(tier)
    return tier
