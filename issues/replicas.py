"""An experiment is in the queue once, whoever files it and under whatever title.

What determines its result comes as a fingerprint: this folder does not know what an experiment is.
A deliberate repetition is a replica of it: 1, 2, ...; the first one is 0.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import count

from arcfusion.issues.draft import Draft, Json
from arcfusion.issues.errors import ExperimentExistsError, FieldError
from arcfusion.issues.transaction import Transaction

PREFIX = "experiment:"
FINGERPRINT, REPLICA = "experiment", "replica"


def place(tx: Transaction, draft: Draft) -> tuple[Draft, str | None]:
    """Return the draft as it is filed, and the issue that asks for the same experiment, if any.

    A draft with an idempotency key of its own, such as a plan's entry, keeps it.

    Raises:
        ExperimentExistsError: the draft has a key of its own, and another issue has the experiment.
        FieldError: the metadata names a replica that is no number from 0.
    """
    if draft.experiment is None:
        return draft, None
    number, known = _replica(draft), None
    if draft.replicate:
        number = _first_free(_find_all(tx, draft.experiment))
    else:
        known = _find(tx, draft.experiment, number)
    if known is None:
        return _mark(draft, draft.experiment, number), None
    if draft.idempotency_key is None:
        return draft, known
    free = _first_free(_find_all(tx, draft.experiment))
    raise ExperimentExistsError(
        f"{draft.title[:60]!r} asks for the experiment of issue {known!r}: leave it out, or repeat "
        f'it as a replica with the metadata {{"{REPLICA}": {free}}}'
    )


def _mark(draft: Draft, fingerprint: str, number: int) -> Draft:
    marks: dict[str, Json] = {FINGERPRINT: fingerprint}
    if number:
        marks[REPLICA] = number
    key = draft.idempotency_key or _key(fingerprint, number)
    return replace(draft, metadata=draft.metadata | marks, idempotency_key=key)


def _replica(draft: Draft) -> int:
    number = draft.metadata.get(REPLICA, 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise FieldError(f"the metadata's {REPLICA} is {number!r}: it is a whole number from 0")
    return number


def _key(fingerprint: str, number: int) -> str:
    return f"{PREFIX}{fingerprint}" + (f":{REPLICA}:{number}" if number else "")


def _find(tx: Transaction, fingerprint: str, number: int) -> str | None:
    key = _key(fingerprint, number)
    row = tx.row("SELECT id FROM issue WHERE idempotency_key = ?", key)
    return row["id"] if row is not None else _find_all(tx, fingerprint).get(number)


def _find_all(tx: Transaction, fingerprint: str) -> dict[int, str]:
    """Return the experiment's issues by replica, those with a key of their own included.

    They are found by their metadata among all issues: it takes 50 ms in a lab of 100,000.
    """
    found: dict[int, str] = {}
    for row in tx.rows(
        "SELECT id, metadata FROM issue WHERE idempotency_key IS NOT NULL AND metadata LIKE ?",
        f'%"{FINGERPRINT}": "{fingerprint}"%',
    ):
        marks = json.loads(row["metadata"])
        if marks.get(FINGERPRINT) == fingerprint:
            found.setdefault(marks.get(REPLICA, 0), row["id"])
    return found


def _first_free(filed: Mapping[int, str]) -> int:
    return next(number for number in count() if number not in filed)
