"""`arcfusion restore`: a lab's database from a backup."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Argument


def command(
    file: Annotated[Path, Argument(metavar="FILE", help="What `arcfusion backup` wrote.")],
    json: Json = False,
) -> None:
    """Make a lab in the working directory from a backup; only where there is none yet."""
    from arcfusion.core import backup, lab_file, store
    from arcfusion.core.home import new_home
    from arcfusion.issues.examination import find_event_gaps

    with closing(backup.open_backup(file)) as source:
        version = lab_file.read_version(source, file)
        home = new_home(Path.cwd())
        backup.restore(home, source, check=find_event_gaps)
    if json:
        print_json({"home": str(home.path), "database": str(home.db_path), "schema": version})
        return
    print_text(f"lab restored in {home.path} from {file}")
    if version != store.SCHEMA_HEAD:
        print_text(f"it has schema {version}: run `arcfusion upgrade`")
