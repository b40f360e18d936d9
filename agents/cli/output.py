"""What a command prints: one JSON document or plain text on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

from arcfusion.agents.cli.parameter import Option
from arcfusion.core.errors import ArcFusionError

SCHEMA_VERSION = 1

Json = Annotated[bool, Option("--json", help="Print one JSON document.")]
Actor = Annotated[
    str | None,
    Option("--actor", help="Who is acting. Default: ARCFUSION_ACTOR or the login."),
]


def print_json(data: object) -> None:
    """Print the data in the envelope that every `--json` has."""
    document = {"schema_version": SCHEMA_VERSION, "data": data}
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_text(text: str = "") -> None:
    """Print a line for a person."""
    sys.stdout.write(text + "\n")


def print_note(text: str) -> None:
    """Print a line that is not part of the result, on stderr."""
    sys.stderr.write(text + "\n")


def print_error(error: ArcFusionError, *, as_json: bool) -> None:
    """Print one line, or one JSON document, on stderr."""
    if as_json:
        fields = {"code": error.code, "message": str(error), "retryable": error.retryable}
        sys.stderr.write(json.dumps(fields) + "\n")
    else:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")


def format_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns; numbers are to the right. Nothing is cut off."""
    cells = [[("-" if value is None else str(value)) for value in row] for row in rows]
    widths = [max(len(h), *(len(row[i]) for row in cells), 0) for i, h in enumerate(headers)]
    numeric = [
        bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(headers))
    ]

    def line(row: Sequence[str]) -> str:
        parts = [
            c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(headers), *(line(row) for row in cells)])


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").lstrip("+-").replace(".", "", 1).isdigit()
