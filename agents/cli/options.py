"""Options that several commands have, spelled the same everywhere."""

from typing import TYPE_CHECKING, Annotated, Any

from arcfusion.agents.cli.parameter import Option

if TYPE_CHECKING:
    from arcfusion.issues.config import QueueConfig

TARGET_HELP = "Model file (.py), spec (.yaml), preset, engine or saved name."

Protocol = Annotated[str, Option("--protocol", help="A protocol's name or YAML file.")]
Seed = Annotated[int, Option("--seed", min=0, help="Seed of the (first) training.")]
Width = Annotated[int | None, Option("--d-model", min=1, help="Width. Default: its own.")]
Layers = Annotated[int | None, Option("--layers", min=1, help="Layers. Default: its own.")]
Parallel = Annotated[
    int | None,
    Option("--parallel", min=1, max=64, help="Trainings at the same time."),
]
Sandbox = Annotated[
    str | None,
    Option(
        "--sandbox",
        help="The weakest sandbox allowed: good, weak, none. Default: ARCFUSION_SANDBOX.",
    ),
]


def read_config() -> "QueueConfig":
    """Return the queue's figures from the settings, without pydantic.

    Raises:
        BadInputError: a setting has a value that is not allowed.
    """
    from arcfusion.core.environment import read_seconds, read_whole
    from arcfusion.issues.config import QueueConfig

    figures = {
        "lease_s": read_seconds("ARCFUSION_LEASE_S"),
        "heartbeat_s": read_seconds("ARCFUSION_HEARTBEAT_S"),
        "max_attempts": read_whole("ARCFUSION_MAX_ATTEMPTS"),
        "wip_limit": read_whole("ARCFUSION_WIP_LIMIT"),
    }
    given: dict[str, Any] = {name: figure for name, figure in figures.items() if figure is not None}
    return QueueConfig(**given)
