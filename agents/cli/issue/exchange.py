"""`arcfusion issue export`, `import` and `verify`: the queue as a file, and its log as a proof."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.issue import filing
from arcfusion.agents.cli.issue.options import Actor, open_queue, open_view
from arcfusion.agents.cli.output import Json, print_json, print_note, print_text
from arcfusion.agents.cli.parameter import Argument, Option
from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from arcfusion.issues.export import Document
    from arcfusion.issues.importing import Imported
    from arcfusion.issues.queue import Queue

SHOWN_DIFFERENCES = 20


class FileFormat(StrEnum):
    """How issues look in a file."""

    JSONL = "jsonl"
    BEADS = "beads"


Format = Annotated[FileFormat, Option("--format", help="jsonl, or beads' issues.jsonl.")]


def export(
    file: Annotated[
        Path | None, Argument(metavar="FILE", help="Replaced at once; else stdout.")
    ] = None,
    file_format: Format = FileFormat.JSONL,
) -> None:
    """Write every issue as one line of JSON, with all that belongs to it."""
    from arcfusion.issues.export import export_lines, write_lines

    with open_view() as view:
        lines = export_lines(view, _renderer(file_format))
        if file is None:
            for line in lines:
                print_text(line)
        else:
            count = write_lines(file, lines)
            print_note(f"{count} lines written to {str(file)!r}")


def _renderer(file_format: FileFormat) -> "Callable[[Document], str]":
    if file_format is FileFormat.BEADS:
        from arcfusion.issues.beads_export import to_beads_line

        return to_beads_line
    from arcfusion.issues.export import to_line

    return to_line


def import_issues(
    plan: Annotated[Path | None, Option("--plan", help="A YAML plan, or Markdown (.md).")] = None,
    file: Annotated[Path | None, Option("--file", help="An export, or beads' file.")] = None,
    file_format: Format = FileFormat.JSONL,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """File a plan's or an export's issues; again, only what is new in it."""
    if (plan is None) == (file is None):
        raise BadInputError("name what to import: either --plan FILE or --file FILE")
    if plan is not None:
        filing.import_plan(plan, actor, json)
        return
    assert file is not None
    from arcfusion.issues.exchange import import_file

    with open_queue(actor) as queue:
        done = (_import_beads if file_format is FileFormat.BEADS else import_file)(queue, file)
    if json:
        print_json(
            {"new_ids": [*done.new_ids], "known_ids": [*done.known_ids], "memories": done.memories}
        )
    else:
        print_text(
            f"{len(done.new_ids)} issues imported, {len(done.known_ids)} known, "
            f"{done.memories} memories"
        )


def _import_beads(queue: "Queue", path: Path) -> "Imported":
    from arcfusion.issues.beads import is_from_beads, read_beads
    from arcfusion.issues.exchange import read_text

    found = read_beads(
        read_text(path),
        name=str(path),
        now=queue.now(),
        actor=queue.actor,
        lease_s=queue.config.lease_s,
        max_attempts=queue.config.max_attempts,
    )
    done = queue.import_all(found.issues, found.memories, is_same=is_from_beads)
    for text in found.left_out:
        print_note(f"left out: {text}")
    return done


def verify(json: Json = False) -> None:
    """Rebuild the tables from the event log and compare; exit 5 when they differ."""
    from arcfusion.issues.errors import ReplayMismatchError
    from arcfusion.issues.replay import verify as verify_log

    with open_view() as view:
        found = verify_log(view)
    texts = [str(difference) for difference in found.differences]
    if json:
        print_json(
            {"events": found.events, "issues": found.issues, "differences": texts},
        )
    else:
        for text in texts[:SHOWN_DIFFERENCES]:
            print_text(text)
    if texts:
        raise ReplayMismatchError(
            f"the event log and the tables differ in {len(texts)} places, first: {texts[0]}: "
            "restore the newest backup that verifies, or file it as a bug"
        )
    if not json:
        print_text(f"{found.events} events rebuild {found.issues} issues: no difference")
