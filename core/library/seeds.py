"""Writes the library into the lab's database: papers, components, relations, engines."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime

from sqlmodel import Session, SQLModel

from arcfusion.core.codegen import generate
from arcfusion.core.ids import short_id
from arcfusion.core.library import tables
from arcfusion.core.library.engines import list_engines
from arcfusion.core.library.record import Record, Source, load_records, parse_source
from arcfusion.core.library.relations import Relations
from arcfusion.core.spec import ArchSpec


def seed_library(session: Session, *, now: datetime, identify: Callable[[ArchSpec], str]) -> int:
    """Write what is missing; what is there is left as it is. Returns how many rows were new.

    Args:
        session: an open write transaction (`core.store.session`).
        now: aware time; stamps new rows and bounds the years of papers.
        identify: the fingerprint of the model that a spec builds.

    Raises:
        ImpossibleYearError: a source's year can not be right; nothing is committed then.
    """
    assert now.tzinfo is not None
    this_year = now.astimezone(UTC).year
    engines = list_engines()
    records = load_records(this_year=this_year)
    sources = [record.source for record in records]
    sources += [parse_source(e.paper, e.year, this_year=this_year) for e in engines]
    new = sum(_add(session, _paper(s), s.paper_id) for s in sources)
    session.flush()  # rows that point to these follow
    new += sum(_add(session, _component(r), r.name) for r in records)
    session.flush()
    for relation in Relations(engines).list():
        row = tables.ComponentRelation(
            first=relation.first,
            second=relation.second,
            score=relation.score,
            evidence=json.dumps(relation.evidence),
        )
        new += _add(session, row, (relation.first, relation.second))
    for engine in engines:
        new += add_architecture(session, engine.spec, identify(engine.spec), now=now)
    return new


def add_architecture(session: Session, spec: ArchSpec, fingerprint: str, *, now: datetime) -> bool:
    """Write the spec's row and its code's digest; False when what it builds is there already."""
    key = architecture_id(fingerprint)
    if session.get(tables.Architecture, key) is not None:
        return False
    row = tables.Architecture(
        id=key,
        name=spec.name,
        spec=spec.model_dump_json(),
        fingerprint=fingerprint,
        code_sha256=hashlib.sha256(generate(spec).encode()).hexdigest(),
        created_at=now.timestamp(),
    )
    session.add(row)
    return True


def architecture_id(fingerprint: str) -> str:
    """Return the id of an architecture's row: of what is built, not of how it is said."""
    return short_id("arch", fingerprint)


def _add(session: Session, row: SQLModel, key: object) -> bool:
    if session.get(type(row), key) is not None:
        return False
    session.add(row)
    # Two components of one paper: the next `get` has to find it.
    session.flush()
    return True


def _paper(source: Source) -> tables.Paper:
    return tables.Paper(
        id=source.paper_id, citation=source.citation, arxiv_id=source.arxiv_id, year=source.year
    )


def _component(record: Record) -> tables.ComponentRecord:
    return tables.ComponentRecord(
        name=record.name,
        category=record.category,
        description=record.description,
        input_port=record.input_port,
        output_port=record.output_port,
        options=json.dumps(record.options, sort_keys=True),
        factory=record.factory,
        paper_id=record.source.paper_id,
        year=record.source.year,
        time_complexity=record.time_complexity,
        space_complexity=record.space_complexity,
        causal=int(record.causal),
        stateful=int(record.stateful),
    )
