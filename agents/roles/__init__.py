"""Roles: what kind of work an issue asks for. One file a role, one line here."""

from collections.abc import Collection

# An issue names its role by the label `role:<name>`; a role has `work(assignment) -> Finding`.
ROLES: dict[str, str] = {
    "researcher": "arcfusion.agents.roles.researcher",
    "dreamer": "arcfusion.agents.roles.dreamer",
}
DEFAULT_ROLE = "researcher"
PREFIX = "role:"


def role_of(labels: Collection[str]) -> str:
    """Return the role that the labels name, `researcher` when they name none that exists."""
    named = sorted(label.removeprefix(PREFIX) for label in labels if label.startswith(PREFIX))
    return next((name for name in named if name in ROLES), DEFAULT_ROLE)
