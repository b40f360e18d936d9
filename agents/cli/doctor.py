"""`arcfusion doctor`: what this machine can do."""

from arcfusion.agents.cli.output import Json, format_table, print_json, print_text


def command(json: Json = False) -> None:
    """Look at Python, SQLite, the lab, the sandbox (by trying to break out), git, torch and GPU."""
    from arcfusion.agents.doctor import examine

    checks = examine()
    if json:
        print_json([check.as_dict() for check in checks])
    else:
        rows = [(check.name, check.state, check.detail) for check in checks]
        print_text(format_table(("what", "state", "detail"), rows))
