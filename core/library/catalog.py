"""Every architecture that has a name here: presets, known engines, and those the lab has saved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arcfusion.core.database import Connection
from arcfusion.core.errors import BadInputError
from arcfusion.core.library.engines import list_engines
from arcfusion.core.spec import ArchSpec, preset_names

Origin = Literal["preset", "engine", "saved"]


class UnknownTargetError(BadInputError):
    """There is no architecture of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An architecture by name; a saved one has its row's id and its fingerprint too."""

    name: str
    origin: Origin
    spec: ArchSpec
    source: str
    id: str | None = None
    fingerprint: str | None = None


def list_entries(connection: Connection | None) -> list[Entry]:
    """Return presets, then engines, then the saved ones of this lab's database, oldest first."""
    presets = [
        Entry(name=name, origin="preset", spec=ArchSpec.preset(name), source="arcfusion")
        for name in preset_names()
    ]
    engines = [
        Entry(name=e.name, origin="engine", spec=e.spec, source=e.paper) for e in list_engines()
    ]
    return [*presets, *engines, *(_list_saved(connection) if connection else [])]


def _list_saved(connection: Connection) -> list[Entry]:
    rows = connection.execute(
        "SELECT id, name, spec, fingerprint,"
        " (SELECT strategy FROM recipe WHERE architecture_id = architecture.id"
        "  ORDER BY created_at, id LIMIT 1) AS strategy"
        " FROM architecture WHERE spec IS NOT NULL ORDER BY created_at, id"
    )
    return [
        Entry(
            name=row["name"],
            origin="saved",
            spec=ArchSpec.model_validate_json(row["spec"]),
            source=f"dream: {row['strategy']}" if row["strategy"] else "lab",
            id=row["id"],
            fingerprint=row["fingerprint"],
        )
        for row in rows
    ]


def find_entry(name: str, connection: Connection | None) -> Entry:
    """Return the architecture of this name (engines in any case) or saved id.

    Raises:
        UnknownTargetError: there is none; the message lists presets and engines.
    """
    for entry in list_entries(connection):
        if name in (entry.name, entry.id):
            return entry
        if entry.origin == "engine" and entry.name.lower() == name.lower():
            return entry
    engines = ", ".join(engine.name for engine in list_engines())
    raise UnknownTargetError(
        f"{name!r} is no spec file (.yaml), preset, engine or saved architecture: "
        f"presets are {', '.join(preset_names())}; engines are {engines}"
    )


def resolve_spec(target: str, connection: Connection | None) -> ArchSpec:
    """Return the spec of a YAML file's path, or of a name as `find_entry`.

    Raises:
        UnknownTargetError: there is no such file or name.
        SpecError: the file's content is no spec.
    """
    path = Path(target)
    if path.suffix not in {".yaml", ".yml"}:
        return find_entry(target, connection).spec
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UnknownTargetError(f"can not read the spec {target!r}: {reason}") from error
    return ArchSpec.from_yaml(text)
