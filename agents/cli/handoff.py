"""`arcfusion handoff`: write HANDOFF.md from the database."""

from pathlib import Path
from typing import Annotated

from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Option


def command(
    output: Annotated[
        Path | None, Option("--output", help="Where to. Default: HANDOFF.md beside the lab.")
    ] = None,
    repository: Annotated[
        Path | None,
        Option("--repository", help="Write ArcFusion's own, in this checkout of it."),
    ] = None,
    json: Json = False,
) -> None:
    """Write what the next worker must know: state, running, blocked, evidence, next steps."""
    from arcfusion import __version__
    from arcfusion.agents.handoff import Provenance, today, write_handoff
    from arcfusion.agents.repository_handoff import write_repository_handoff
    from arcfusion.agents.workspace import Workspace
    from arcfusion.core.home import find_home

    if repository is not None:
        path = repository / "HANDOFF.md"
        text = write_repository_handoff(repository)
    else:
        home = find_home()
        path = output or home.workspace_path / "HANDOFF.md"
        commit = Workspace(home.workspace_path).resolve("HEAD")
        text = write_handoff(home, path, Provenance(today(), __version__, commit))
    if json:
        print_json({"path": str(path), "text": text})
    else:
        print_text(f"wrote {path}")
