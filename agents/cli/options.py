"""Options that several commands have, spelled the same everywhere."""

from typing import Annotated

import typer

TARGET_HELP = "Model file (.py), spec (.yaml), preset, engine or saved name."

Protocol = Annotated[str, typer.Option("--protocol", help="A protocol's name or YAML file.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the (first) training.")]
Width = Annotated[int | None, typer.Option("--d-model", min=1, help="Width. Default: its own.")]
Layers = Annotated[int | None, typer.Option("--layers", min=1, help="Layers. Default: its own.")]
Parallel = Annotated[
    int | None,
    typer.Option("--parallel", min=1, max=64, help="Trainings at the same time."),
]
Sandbox = Annotated[
    str | None,
    typer.Option(
        "--sandbox",
        help="The weakest sandbox allowed: good, weak, none. Default: ARCFUSION_SANDBOX.",
    ),
]
