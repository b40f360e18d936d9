"""`arcfusion backup`: a copy of the lab's database while it is in use."""

from pathlib import Path
from typing import Annotated

from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Option


def command(
    file: Annotated[Path, Argument(metavar="FILE", help="Where the copy goes.")],
    force: Annotated[bool, Option("--force", help="Replace an older copy.")] = False,
    json: Json = False,
) -> None:
    """Copy the lab's database to FILE and check the copy; `arcfusion restore` reads it back."""
    from arcfusion.core import backup
    from arcfusion.core.home import find_home
    from arcfusion.issues.examination import find_event_gaps

    home = find_home()
    size_bytes = backup.back_up(home, file, check=find_event_gaps, overwrite=force)
    if json:
        print_json({"database": str(home.db_path), "backup": str(file), "bytes": size_bytes})
    else:
        print_text(f"{home.db_path} copied to {file} ({size_bytes:,} bytes) and checked")
