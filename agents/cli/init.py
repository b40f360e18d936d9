"""`arcfusion init`: make the lab in the working directory."""

from pathlib import Path

from arcfusion.agents.cli.output import Json, print_json, print_text


def command(json: Json = False) -> None:
    """Make the lab (.arcfusion/) in the working directory; an existing lab stays as it is."""
    from arcfusion.core import store
    from arcfusion.core.environment import database_url
    from arcfusion.core.home import new_home

    home = new_home(Path.cwd(), database=database_url())
    store.create(home)
    if json:
        print_json({"home": str(home.path), "database": home.database_name})
    else:
        place = f", its database is {home.database_name}" if home.database else ""
        print_text(f"lab ready in {home.path}{place}")
