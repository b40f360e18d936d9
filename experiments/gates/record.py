"""What a gate says: an outcome, a measured figure beside its limit, and one line for a person."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from arcfusion.core.errors import BadInputError


class Outcome(StrEnum):
    """How a check ended. `unavailable` means "could not check" and never counts as a pass."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    WARN = "warn"
    FAIL = "fail"
    UNAVAILABLE = "unavailable"


class GateReportError(BadInputError):
    """The text is not a gate report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate on one model.

    `figure` and `limit` are in `unit`; the figure is None when nothing could be measured or when it
    was not finite, and `detail` then says why.
    """

    name: str
    outcome: Outcome
    figure: float | None
    unit: str
    limit: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class GateReport:
    """All gates on one model, and what they add up to."""

    results: tuple[GateResult, ...]
    optional: frozenset[str] = frozenset()
    """Names of gates that may be `unavailable` without spoiling the verdict."""

    @property
    def verdict(self) -> Outcome:
        """The worst: fail, then a mandatory gate that is unavailable, then warn, then pass."""
        outcomes = {r.outcome for r in self.results if not self._may_be_missing(r)}
        if not outcomes:
            return Outcome.UNAVAILABLE
        for worst in (Outcome.FAIL, Outcome.UNAVAILABLE, Outcome.WARN):
            if worst in outcomes:
                return worst
        return Outcome.PASS

    def _may_be_missing(self, result: GateResult) -> bool:
        return result.outcome is Outcome.UNAVAILABLE and result.name in self.optional

    def to_json(self) -> str:
        """Return the report as one line of JSON that `parse_report` reads."""
        return json.dumps([asdict(r) for r in self.results], allow_nan=False)


def finite(figure: float) -> float | None:
    """Return the figure, or None when JSON can not hold it."""
    return figure if math.isfinite(figure) else None


def parse_report(text: str, *, names: Sequence[str], optional: frozenset[str]) -> GateReport:
    """Read a report written by another process, which is not trusted.

    Args:
        text: what `GateReport.to_json` wrote.
        names: the gates that have to be in it, in order, each once.
        optional: as in `GateReport`.

    Raises:
        GateReportError: it is not JSON, a field is missing, extra or of another type, an outcome is
            unknown, or the gates are not those asked for.
    """
    try:
        rows = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise GateReportError(f"the gate report is not JSON ({error})") from error
    if not isinstance(rows, list):
        raise GateReportError("the gate report is not a list of results")
    results = tuple(_parse_result(row) for row in rows)
    if [r.name for r in results] != list(names):
        raise GateReportError(
            f"the gate report is about {[r.name for r in results]!r}, not {list(names)!r}"
        )
    return GateReport(results, optional)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a figure")


def _parse_result(row: object) -> GateResult:
    fields = {"name", "outcome", "figure", "unit", "limit", "detail"}
    if not isinstance(row, dict) or set(row) != fields:
        raise GateReportError(
            f"a gate result has the fields {sorted(fields)}, this one {row!r:.200}"
        )
    for field in ("name", "outcome", "unit", "detail"):
        if not isinstance(row[field], str):
            raise GateReportError(f"{field} of a gate result is text, not {row[field]!r:.80}")
    if row["outcome"] not in set(Outcome):
        raise GateReportError(f"{row['outcome']!r:.80} is no outcome: {', '.join(Outcome)}")
    return GateResult(
        name=row["name"],
        outcome=Outcome(row["outcome"]),
        figure=_parse_number(row["figure"]),
        unit=row["unit"],
        limit=_parse_number(row["limit"]),
        detail=row["detail"],
    )


def _parse_number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GateReportError(f"a figure is a number or null, not {value!r:.80}")
    return float(value)
