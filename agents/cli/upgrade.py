"""`arcfusion upgrade`: bring a lab of an older version to this one."""

from typing import Annotated

from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Option


def command(
    without_backup: Annotated[
        bool, Option("--without-backup", help="For Postgres: there is one by pg_dump.")
    ] = False,
    json: Json = False,
) -> None:
    """Migrate the lab's database to this version, after a backup beside it; nothing else does."""
    from arcfusion.core import upgrade
    from arcfusion.core.home import find_home
    from arcfusion.issues.examination import find_event_gaps

    home = find_home()
    done = upgrade.upgrade(home, check=find_event_gaps, without_backup=without_backup)
    if json:
        print_json(
            {
                "database": home.database_name,
                "before": done.before,
                "after": done.after,
                "backup": None if done.backup is None else str(done.backup),
            }
        )
    elif done.before == done.after:
        print_text(f"{home.database_name} has schema {done.after}, the newest: nothing was changed")
    else:
        print_text(f"{home.database_name}: schema {done.before} -> {done.after}, checked")
        print_text(f"as it was: {done.backup or 'in the backup of the server'}")
