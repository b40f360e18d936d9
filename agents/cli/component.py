"""`arcfusion component`: the parts that architectures are made of."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.output import Json, format_table, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Group

if TYPE_CHECKING:
    from arcfusion.core.library.record import Record

app = Group(help="The parts that architectures are made of.")


@app.command("list")
def list_components(json: Json = False) -> None:
    """List the components of the library."""
    from arcfusion.core.library.record import load_records

    records = load_records(this_year=datetime.now(UTC).year)
    if json:
        print_json({"components": [_to_row(record) for record in records]})
        return
    rows = [
        (r.name, r.category, r.source.year, r.time_complexity, r.source.citation) for r in records
    ]
    print_text(format_table(("name", "category", "year", "time", "source"), rows))


@app.command("show")
def show(
    name: Annotated[str, Argument(help="A component's name, such as mamba1.")],
    json: Json = False,
) -> None:
    """Show a component: ports, options, source, and what it is known to go with."""
    from arcfusion.core.library.engines import list_engines
    from arcfusion.core.library.record import load_record
    from arcfusion.core.library.relations import Relations

    record = load_record(name, this_year=datetime.now(UTC).year)
    related = [
        (r.second if r.first == name else r.first, round(r.score, 4), list(r.evidence))
        for r in Relations(list_engines()).list()
        if name in (r.first, r.second)
    ]
    if json:
        relations = [{"component": c, "score": s, "engines": e} for c, s, e in related]
        print_json({**_to_row(record), "relations": relations})
        return
    options = ", ".join(f"{key}={value}" for key, value in record.options.items()) or "none"
    print_text(f"{record.name} ({record.category}): {record.description}")
    print_text(f"  ports    {record.input_port} -> {record.output_port}")
    print_text(f"  options  {options}")
    print_text(f"  cost     time {record.time_complexity}, state {record.space_complexity}")
    print_text(f"  source   {record.source.citation}")
    print_text(f"  code     {record.factory}")
    print_text("")
    rows = [(c, score, ", ".join(engines) or "none") for c, score, engines in related]
    print_text(format_table(("goes with", "score", "engines that have both"), rows))


def _to_row(record: "Record") -> dict[str, object]:
    return {**asdict(record), "source": record.source.citation, "year": record.source.year}
