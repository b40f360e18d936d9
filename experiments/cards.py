"""Recipe cards: everything that a reader needs to judge a result and to repeat it, in Markdown."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from arcfusion.core.database import Connection
from arcfusion.core.errors import NotFoundError
from arcfusion.experiments.insights import InsightView, list_insights
from arcfusion.experiments.leaderboard import (
    Leaderboard,
    Row,
    ScoredRun,
    load_leaderboards,
    load_scored_runs,
)


class CardNotFoundError(NotFoundError):
    """There is no completed run of this architecture under this key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLine:
    """What one gate said about the architecture."""

    name: str
    outcome: str
    figure: float | None
    unit: str
    limit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One architecture under one key, with all that is on record about it.

    `protocol_yaml` is None when the protocol is a preset, `spec_yaml` for a model file.
    """

    name: str
    fingerprint: str
    key: str
    protocol: str
    protocol_name: str
    protocol_yaml: str | None
    data_sha256: str
    harness_version: str
    spec_yaml: str | None
    code_sha256: str | None
    commit: str | None
    row: Row
    baseline: str | None
    runs: tuple[ScoredRun, ...]
    gates: tuple[GateLine, ...]
    insights: tuple[InsightView, ...]
    lineage: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return the card's fields as JSON values, with the Markdown beside them."""
        return asdict(self) | {"markdown": render_card(self)}


def load_cards(connection: Connection, *, key: str | None = None) -> list[Card]:
    """Return a card for each ranked architecture, key by key, the best first.

    Raises:
        UnknownKeyError: nothing was measured under the named key.
    """
    return [
        _load(connection, board, row)
        for board in load_leaderboards(connection, key=key)
        for row in board.rows
    ]


def load_card(connection: Connection, fingerprint: str, key: str) -> Card:
    """Return the card of one architecture under one key.

    Raises:
        UnknownKeyError: nothing was measured under the key.
        CardNotFoundError: the architecture has no completed run under it.
    """
    board = load_leaderboards(connection, key=key)[0]
    for row in board.rows:
        if row.fingerprint == fingerprint:
            return _load(connection, board, row)
    raise CardNotFoundError(f"no completed run of {fingerprint!r} under {key!r}")


def _load(connection: Connection, board: Leaderboard, row: Row) -> Card:
    protocol = connection.execute("SELECT * FROM protocol WHERE key = ?", (board.key,)).fetchone()
    runs = [
        run for run in load_scored_runs(connection, board.key) if run.fingerprint == row.fingerprint
    ]
    facts = connection.execute(
        'SELECT code_sha256, "commit" FROM run WHERE id = ?', (runs[0].run_id,)
    ).fetchone()
    insights = [
        insight
        for insight in list_insights(connection, protocol_key=board.key)
        if row.fingerprint in (insight.baseline_fingerprint, insight.candidate_fingerprint)
    ]
    return Card(
        name=row.name,
        fingerprint=row.fingerprint,
        key=board.key,
        protocol=board.description,
        protocol_name=protocol["name"],
        protocol_yaml=_load_protocol(protocol["name"], protocol["document"]),
        data_sha256=protocol["data_sha256"],
        harness_version=protocol["harness_version"],
        spec_yaml=_load_spec(connection, row.fingerprint),
        code_sha256=facts["code_sha256"],
        commit=facts["commit"],
        row=row,
        baseline=board.baseline,
        runs=tuple(runs),
        gates=tuple(_load_gates(connection, row.fingerprint, protocol["harness_version"])),
        insights=tuple(insights),
        lineage=tuple(_load_lineage(connection, row.fingerprint)),
    )


def _load_gates(connection: Connection, fingerprint: str, harness_version: str) -> list[GateLine]:
    rows = connection.execute(
        'SELECT name, outcome, figure, unit, "limit" FROM gate_record '
        "WHERE fingerprint = ? AND harness_version = ? ORDER BY name",
        (fingerprint, harness_version),
    )
    return [GateLine(**row) for row in rows]


def _load_spec(connection: Connection, fingerprint: str) -> str | None:
    import yaml

    row = connection.execute(
        "SELECT spec FROM architecture WHERE fingerprint = ? ORDER BY id LIMIT 1", (fingerprint,)
    ).fetchone()
    if row is None:
        return None
    return yaml.safe_dump(json.loads(row["spec"]), sort_keys=False, default_flow_style=None)


def _load_protocol(name: str, document: str) -> str | None:
    """Return the protocol's YAML, or None for a preset, which its name is enough for."""
    from arcfusion.experiments.protocol import PROTOCOLS, Protocol

    protocol = Protocol.model_validate_json(document)
    if name in PROTOCOLS:
        preset = Protocol.load(name).resolve(
            protocol.data_sha256 or "", device_class=protocol.device_class
        )
        if preset == protocol:
            return None
    return protocol.to_yaml()


def _load_lineage(connection: Connection, fingerprint: str) -> list[str]:
    rows = connection.execute(
        "SELECT r.id, r.strategy, r.seed, r.parents, r.reasoning FROM recipe r "
        "JOIN architecture a ON a.id = r.architecture_id WHERE a.fingerprint = ? ORDER BY r.id",
        (fingerprint,),
    ).fetchall()
    lines = []
    for row in rows:
        parents = ", ".join(json.loads(row["parents"])) or "none"
        lines.append(
            f"{row['id']}: {row['strategy']} with seed {row['seed']}, parents {parents}: "
            f"{row['reasoning']}"
        )
        adjustments = connection.execute(
            "SELECT kind, original, adjusted, reason FROM adjustment WHERE recipe_id = ? "
            "ORDER BY position",
            (row["id"],),
        )
        lines += [
            f"adjusted ({a['kind']}): {a['original']} -> {a['adjusted']}, {a['reason']}"
            for a in adjustments
        ]
    return lines


def render_card(card: Card) -> str:
    """Return the card as Markdown."""
    sections = [
        f"# {card.name}",
        _render_identity(card),
        "## Result",
        _render_result(card),
        "## Claims",
        _render_list(f"{i.id} ({i.status}): {i.claim}" for i in card.insights)
        or "No claim was made about it.",
        "## Gates",
        _render_gates(card.gates),
        "## Lineage",
        _render_list(card.lineage) or "Given by a person or a preset; not dreamed.",
        "## Architecture",
        f"```yaml\n{card.spec_yaml}```"
        if card.spec_yaml
        else "A model file from elsewhere: it has no ArchSpec.",
        "## Limits",
        _render_list(_limits(card)),
        "## Reproduce",
        _render_commands(card),
    ]
    return "\n\n".join(sections) + "\n"


def _render_identity(card: Card) -> str:
    rows = (
        ("fingerprint", card.fingerprint),
        ("code (SHA-256)", card.code_sha256),
        ("commit", card.commit),
        ("comparability key", card.key),
        ("protocol", card.protocol),
        ("data (SHA-256)", card.data_sha256),
        ("harness version", card.harness_version),
        ("sandbox tier", card.row.sandbox_tier),
        ("parameters", _number(card.row.parameters)),
        ("state bytes", _number(card.row.state_bytes)),
        ("KV bytes", _number(card.row.kv_bytes)),
    )
    return _render_table(("", ""), [(name, value or "not recorded") for name, value in rows])


def _render_result(card: Card) -> str:
    row = card.row
    interval = (
        "one seed, so there is no interval"
        if row.low is None or row.high is None
        else f"99% interval over seeds {row.low:.4f} to {row.high:.4f}"
    )
    lines = [f"**{row.bits_per_byte:.4f} bits per byte** ({interval})."]
    if row.verdict is not None and row.difference is not None:
        lines.append(
            f"Against the key's baseline {card.baseline}: {row.verdict} ({row.difference:+.4f} "
            f"bits per byte, paired seeds), tier {row.tier or '-'}."
        )
    cells = [
        (
            str(run.seed),
            run.run_id,
            f"{run.bits_per_byte:.4f}",
            "-" if run.perplexity is None else f"{run.perplexity:.3f}",
            "-" if run.train_seconds is None else f"{run.train_seconds:.1f}",
        )
        for run in card.runs
    ]
    headers = ("seed", "run", "bits per byte", "perplexity", "training s")
    return " ".join(lines) + "\n\n" + _render_table(headers, cells)


def _render_gates(gates: Sequence[GateLine]) -> str:
    if not gates:
        return "No gate result is on record."
    cells = [
        (
            gate.name,
            gate.outcome,
            "-" if gate.figure is None else f"{gate.figure:.4g} {gate.unit}".strip(),
            "-" if gate.limit is None else f"{gate.limit:.4g}",
        )
        for gate in gates
    ]
    return _render_table(("gate", "outcome", "figure", "limit"), cells)


def _limits(card: Card) -> list[str]:
    limits = [
        f"It holds under {card.key} only: this text, budget and device class; nothing is known "
        "about other sizes or longer training."
    ]
    if card.row.n_seeds < 2:
        limits.append("One seed: no verdict can be given.")
    if not card.row.is_baseline and card.row.verdict is None:
        limits.append("It shares no seed with the key's baseline: it was compared with nothing.")
    if card.row.sandbox_tier not in ("good", "strict"):
        limits.append(
            f"Sandbox tier {card.row.sandbox_tier or 'unknown'}: below good, the model's code was "
            "not fully confined."
        )
    if any(gate.outcome != "pass" for gate in card.gates):
        limits.append("Not every gate passed: see above.")
    return limits


def _render_commands(card: Card) -> str:
    file = "recipe.yaml" if card.spec_yaml else "model.py"
    source = "the YAML above" if card.spec_yaml else "the file with the code hash above"
    protocol = card.protocol_name if card.protocol_yaml is None else "protocol.yaml"
    options = f"{file} --protocol {protocol}"
    lines = [f"arcfusion train {options} --seed {run.seed} --replica 1" for run in card.runs]
    text = f"With {source} as `{file}`; a replica is trained again where the run is on record:"
    first, n = card.runs[0].seed, len(card.runs)
    is_range = [run.seed for run in card.runs] == list(range(first, first + n))
    if card.baseline is not None and not card.row.is_baseline and is_range and n > 1:
        lines.append(f"arcfusion compare {card.baseline} {options} --seed {first} --seeds {n}")
        text = text[:-1] + f"; `{card.baseline}` is a preset or the spec on the card of that name:"
    block = f"{text}\n\n```\n" + "\n".join(lines) + "\n```"
    if card.protocol_yaml is not None:
        block += f"\n\n`protocol.yaml`:\n\n```yaml\n{card.protocol_yaml}```"
    return block


def _render_list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _render_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        # A name may hold the column mark.
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(headers), line(["---"] * len(headers)), *map(line, rows)])


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"
