"""`arcfusion daily`: where the lab stands and what comes next, on one screen."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.hypotheses import NOTHING_YET as NO_HYPOTHESIS
from arcfusion.agents.cli.leaderboard import NOTHING_YET, format_rows, shorten
from arcfusion.agents.cli.output import Json, print_json, print_text
from arcfusion.agents.cli.parameter import Option
from arcfusion.core.home import Home

if TYPE_CHECKING:
    from arcfusion.experiments.hypotheses import HypothesisView
    from arcfusion.experiments.insights import InsightView
    from arcfusion.experiments.leaderboard import Leaderboard
    from arcfusion.issues.questions import Question

# They add up to one screen of 40 lines.
MAX_ROWS = 8
MAX_PARETO = 4
MAX_INSIGHTS = 5
MAX_HYPOTHESES = 10
MAX_QUESTIONS = 2
WIDTH = 100
NAME_WIDTH = 17


def command(
    key: Annotated[
        str | None,
        Option("--key", help="This comparability key. Default: that of the latest run."),
    ] = None,
    json: Json = False,
) -> None:
    """Show the leaderboard, Pareto winners, top insights, next experiments, and open questions."""
    from arcfusion.core.home import find_home

    show(find_home(), key=key, as_json=json)


def show(home: Home, *, key: str | None = None, as_json: bool = False) -> None:
    """Print the screen, or its content as JSON.

    Raises:
        UnknownKeyError: nothing was measured under the key.
    """
    from arcfusion.core import store
    from arcfusion.experiments.hypotheses import list_hypotheses
    from arcfusion.experiments.insights import list_insights
    from arcfusion.experiments.leaderboard import latest_key, load_leaderboards
    from arcfusion.issues.questions import find

    connection = store.connect(home)
    try:
        chosen = key or latest_key(connection)
        boards = load_leaderboards(connection, key=chosen) if chosen else []
        board = boards[0] if boards else None
        insights = list_insights(connection, limit=MAX_INSIGHTS)
        hypotheses = list_hypotheses(connection, is_open=True, limit=MAX_HYPOTHESES)
        questions = find(connection)
    finally:
        connection.close()
    if as_json:
        _print_document(board, insights, hypotheses, questions)
    else:
        _print_screen(board, insights, hypotheses)
        _print_questions(questions)


def _print_document(
    board: "Leaderboard | None",
    insights: "list[InsightView]",
    hypotheses: "list[HypothesisView]",
    questions: "list[Question]",
) -> None:
    from arcfusion.experiments.leaderboard import find_pareto_rows

    rows = board.rows if board else ()
    print_json(
        {
            "key": board.key if board else None,
            "leaderboard": [asdict(row) for row in rows],
            "pareto": [asdict(row) for row in find_pareto_rows(rows)],
            "insights": [insight.to_json() for insight in insights],
            "hypotheses": [hypothesis.to_json() for hypothesis in hypotheses],
            "questions": [asdict(question) for question in questions],
        }
    )


def _print_screen(
    board: "Leaderboard | None",
    insights: "list[InsightView]",
    hypotheses: "list[HypothesisView]",
) -> None:
    from arcfusion.experiments.leaderboard import find_pareto_rows

    if board is None or not board.rows:
        print_text(NOTHING_YET)
    else:
        print_text(shorten(f"{board.key}  {board.description}", WIDTH))
        print_text(format_rows(board.rows[:MAX_ROWS], name_width=NAME_WIDTH))
        if len(board.rows) > MAX_ROWS:
            print_text(f"and {len(board.rows) - MAX_ROWS} more: `arcfusion leaderboard`")
        print_text("\nPareto winners (bits per byte, training seconds)")
        for row in find_pareto_rows(board.rows)[:MAX_PARETO]:
            print_text(
                shorten(f"  {row.bits_per_byte:.4f}  {row.train_seconds:7.1f} s  {row.name}", WIDTH)
            )
    print_text("\nInsights")
    if not insights:
        print_text("  none yet: a comparison over two or more paired seeds makes one")
    for insight in insights:
        print_text(shorten(f"  {insight.id} {insight.status}: {insight.claim}", WIDTH))
    print_text("\nNext experiments")
    if not hypotheses:
        print_text(f"  {NO_HYPOTHESIS}")
    for hypothesis in hypotheses:
        end = (
            f"  {hypothesis.predicted_low:+.3f} to {hypothesis.predicted_high:+.3f}"
            f"  {hypothesis.cost_s:.0f} s"
        )
        start = f"  {hypothesis.id}  {hypothesis.kind}: {hypothesis.change}"
        print_text(shorten(start, WIDTH - len(end)) + end)


def _print_questions(questions: "list[Question]") -> None:
    if questions:
        print_text(f"\nWaiting for a person: {len(questions)} (`arcfusion issue answer ID TEXT`)")
    for question in questions[:MAX_QUESTIONS]:
        print_text(shorten(f"  {' '.join(str(question).split())}", WIDTH))
