"""`arcfusion bench NAME`: run a part's proofs and print what holds."""

import importlib
from typing import Annotated

from arcfusion.agents.cli.output import Json, format_table, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.errors import BadInputError, ExitCode


def command(
    name: Annotated[str, Argument(help="Which part: loop, queue.")],
    json: Json = False,
    quick: Annotated[
        bool, Option("--quick", help="The short version that the test suite runs.")
    ] = False,
    only: Annotated[
        list[str] | None, Option("--only", help="Only this group of rows; repeatable.")
    ] = None,
) -> None:
    """Run a part's proofs; exit 0 when every bar holds, 5 when one does not."""
    from arcfusion.agents.bench import BENCHES
    from arcfusion.agents.bench.record import describe_machine

    if name not in BENCHES:
        raise BadInputError(f"unknown bench {name!r}: there is {', '.join(BENCHES)}")
    groups = importlib.import_module(BENCHES[name]).GROUPS
    for wanted in only or ():
        if wanted not in groups:
            raise BadInputError(f"unknown group {wanted!r}: there is {', '.join(groups)}")
    rows = []
    for group, measure in groups.items():
        if only and group not in only:
            continue
        for row in measure(quick):
            rows.append(row)
            print_note(f"{'holds' if row.holds else 'FAILS'}  {row.name}: {row.value} {row.unit}")
    if json:
        document = {
            "bench": name,
            "rows": [row.as_dict() for row in rows],
            "machine": describe_machine(),
        }
        print_json(document)
    else:
        cells = [
            (row.name, "-" if row.value is None else f"{row.value:.4g}", row.unit, row.bar,
             "yes" if row.holds else "NO", row.detail)
            for row in rows
        ]  # fmt: skip
        print_text(format_table(["row", "value", "unit", "bar", "holds", "detail"], cells))
    if not all(row.holds for row in rows):
        raise SystemExit(ExitCode.REFUSED)
