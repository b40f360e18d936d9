"""Issues as lines that beads reads: the reverse of `issues.beads`, whose tables it uses.

An outcome, a size other than M and a quarantine go into the metadata under `arcfusion`; attempts
and leases have no form there.
"""

import json
from datetime import UTC, datetime

from arcfusion.issues.beads import LOOSE_EDGES, SOURCE, STATUSES, TYPES
from arcfusion.issues.document import IssueDocument, MemoryDocument, Row
from arcfusion.issues.export import Document
from arcfusion.issues.lines import JsonObject
from arcfusion.issues.states import EdgeType, Size, Status
from arcfusion.issues.transaction import Value

_SAME = ("priority", "assignee", "estimated_minutes")
_TIMES = ("created_at", "updated_at", "started_at", "closed_at", "due_at")


def to_beads_line(document: Document) -> str:
    """Return the line of `.beads/issues.jsonl` for a document."""
    if isinstance(document, MemoryDocument):
        memory = document.memory
        return _dump({"_type": "memory", "key": memory["key"], "value": memory["text"]})
    return _dump(_fields(document))


def _fields(document: IssueDocument) -> JsonObject:
    row = document.issue
    metadata = json.loads(str(row["metadata"]))
    kept = metadata.pop(SOURCE, {})
    own = _own(row)
    if own:
        metadata["arcfusion"] = own
    texts = {
        "design": row["design"],
        "acceptance_criteria": row["acceptance"],
        "notes": row["notes"],
        "close_reason": row["close_reason"],
        "external_ref": row["external_ref"],
        "owner": row["owner"],
        "created_by": row["created_by"],
        "source_system": row["source_system"],
    }
    fields: JsonObject = {
        "id": row["id"],
        "title": row["title"],
        "description": row["description"],
        "status": _status(row, kept),
        "issue_type": _type(row, kept),
        **{name: row[name] for name in _SAME if row[name] is not None},
        **{name: text for name, text in texts.items() if text},
        **{name: _time(row[name]) for name in _TIMES if row[name] is not None},
        "defer_until": _time(row["not_before"]) if row["not_before"] else None,
        "metadata": metadata or None,
        "labels": list(document.labels) or None,
        "dependencies": _edges(document, kept.get("dependencies", [])) or None,
        "comments": [_comment(document.id, comment) for comment in document.comments] or None,
    }
    rest = {name: value for name, value in kept.items() if name not in {*fields, "dependencies"}}
    return {name: value for name, value in (fields | rest).items() if value is not None}


def _own(row: Row) -> JsonObject:
    own: JsonObject = {}
    if row["outcome"] is not None:
        own["outcome"] = row["outcome"]
    if row["size"] != Size.M:
        own["size"] = row["size"]
    if row["status"] == Status.QUARANTINED:
        own["status"] = row["status"]
    return own


def _status(row: Row, kept: JsonObject) -> str:
    """The status that beads gave, while it still says the same; else ours."""
    if row["status"] == Status.QUARANTINED:
        return str(Status.BLOCKED)
    first = str(kept.get("status"))
    return first if STATUSES.get(first) == row["status"] else str(row["status"])


def _type(row: Row, kept: JsonObject) -> str:
    first = str(kept.get("issue_type"))
    return first if TYPES.get(first) == row["type"] else str(row["type"])


def _edges(document: IssueDocument, loose: list[JsonObject]) -> list[JsonObject]:
    named = {edge["depends_on_id"] for edge in loose if edge["type"] in LOOSE_EDGES}
    edges = [
        _edge(document.id, edge)
        for edge in document.dependencies
        if edge["type"] != EdgeType.RELATED or edge["depends_on_id"] not in named
    ]
    return edges + loose


def _edge(issue_id: str, edge: Row) -> JsonObject:
    fields: JsonObject = {
        "issue_id": issue_id,
        "depends_on_id": edge["depends_on_id"],
        "type": edge["type"],
        "created_at": _time(edge["created_at"]),
        "created_by": edge["created_by"],
    }
    if edge["gate"] is not None:
        # beads keeps JSON in a text here.
        fields["metadata"] = json.dumps({"gate": edge["gate"]})
    return fields


def _comment(issue_id: str, comment: Row) -> JsonObject:
    # Without an id: beads numbers them itself, by a number or by a text as its version has it.
    return {
        "issue_id": issue_id,
        "author": comment["author"],
        "text": comment["text"],
        "created_at": _time(comment["created_at"]),
    }


def _time(seconds: Value) -> str:
    moment = datetime.fromtimestamp(float(seconds or 0.0), UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _dump(fields: JsonObject) -> str:
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)
