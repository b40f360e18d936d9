"""`arcfusion leaderboard`: completed runs, one table a comparability key."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from arcfusion.agents.cli.output import Json, format_table, print_json, print_text
from arcfusion.agents.cli.parameter import Option

if TYPE_CHECKING:
    from arcfusion.experiments.leaderboard import Leaderboard, Row

NOTHING_YET = "no completed run yet: `arcfusion agent run --role worker --once` makes some"


def command(
    key: Annotated[
        str | None, Option("--key", help="Only this comparability key. Default: all keys.")
    ] = None,
    sort: Annotated[
        Literal["bpb", "time", "efficiency"],
        Option("--sort", help="By bits per byte, training time, or PPL x sqrt(time/300 s)."),
    ] = "bpb",
    json: Json = False,
) -> None:
    """Rank the architectures by their completed runs, each comparability key for itself."""
    from arcfusion.core import store
    from arcfusion.core.home import find_home
    from arcfusion.experiments.leaderboard import load_leaderboards

    connection = store.connect(find_home())
    try:
        boards = load_leaderboards(connection, key=key, sort=sort)
    finally:
        connection.close()
    if json:
        print_json({"leaderboards": [asdict(board) for board in boards]})
        return
    shown = [board for board in boards if board.rows or board.unranked]
    if not shown:
        print_text(NOTHING_YET)
    for number, board in enumerate(shown):
        if number:
            print_text()
        _print_board(board)


def _print_board(board: "Leaderboard") -> None:
    print_text(f"{board.key}  {board.description}")
    if board.rows:
        print_text(format_rows(board.rows))
    for row in board.rows:
        if row.sandbox_tier not in ("good", "strict"):
            print_text(f"trained in a {row.sandbox_tier} sandbox: {row.name}")
    for entry in board.unranked:
        reason = f" ({entry.reason})" if entry.reason else ""
        print_text(f"not ranked: {entry.name}, {entry.outcome}{reason}, {entry.n_runs} run(s)")


def format_rows(rows: "Sequence[Row]", *, name_width: int | None = None) -> str:
    """Return the rows as a table, best first; +/- is the 99% interval over the seeds.

    With `name_width` 17 it has at most 100 columns; None cuts no name.
    """
    headers = (
        "model", "bits/byte", "+/-", "PPL", "vs base", "tier", "s", "tok/s", "params", "state",
        "seeds", "eff",
    )  # fmt: skip
    return format_table(headers, [_cells(row, name_width) for row in rows])


def _cells(row: "Row", name_width: int | None) -> list[object]:
    return [
        row.name if name_width is None else _shorten_name(row.name, name_width),
        f"{row.bits_per_byte:.4f}",
        None if row.high is None else f"{row.high - row.bits_per_byte:.4f}",
        _decimal(row.perplexity, 2),
        _verdict(row),
        row.tier,
        _decimal(row.train_seconds, 1),
        _metric(row.tokens_per_s),
        _metric(row.parameters),
        _metric(_total(row.state_bytes, row.kv_bytes)),
        row.n_seeds,
        _decimal(row.efficiency, 2),
    ]


def _verdict(row: "Row") -> str | None:
    if row.is_baseline:
        return "base"
    if row.verdict == "indistinguishable":
        return "same?"
    return row.verdict


def _total(state: int | None, kv: int | None) -> int | None:
    return None if state is None and kv is None else (state or 0) + (kv or 0)


def shorten(text: str, width: int) -> str:
    """Return the text in at most `width` characters; three dots say that something is missing."""
    return text if len(text) <= width else text[: width - 3] + "..."


def _shorten_name(name: str, width: int) -> str:
    """Return the name in at most `width` characters; what tells names apart is often at the end."""
    if len(name) <= width:
        return name
    tail = (width - 3) // 2
    return f"{name[: width - 3 - tail]}...{name[-tail:]}"


def _decimal(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _metric(value: float | None) -> str | None:
    """Return a number in at most five characters: 950, 12.3k, 4.5M."""
    if value is None:
        return None
    for limit, divisor, unit in ((1e3, 1.0, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if value < limit:
            scaled = value / divisor
            return f"{scaled:.0f}{unit}" if scaled >= 100 or not unit else f"{scaled:.1f}{unit}"
    return f"{value / 1e9:.1f}G"
