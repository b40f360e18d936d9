"""`arcfusion gate`: check a model before anything is trained on it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.output import Json, format_table, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Group, Option
from arcfusion.core.errors import RefusedError

if TYPE_CHECKING:
    from arcfusion.experiments.gates import GateReport

app = Group(help="Check a model before anything is trained on it.")


class GateRefusedError(RefusedError):
    """A gate refused the model."""


@app.command("list")
def list_gates(json: Json = False) -> None:
    """List the gates."""
    from arcfusion.experiments.gates import GATES, OPTIONAL

    rows = [{"name": name, "mandatory": name not in OPTIONAL} for name in GATES]
    if json:
        print_json({"gates": rows})
        return
    shown = [(row["name"], "yes" if row["mandatory"] else "no") for row in rows]
    print_text(format_table(("gate", "mandatory"), shown))


@app.command("run")
def run(
    target: Annotated[
        str, Argument(help="A model file (.py), a spec (.yaml), a preset or an engine.")
    ],
    vocab_size: Annotated[
        int | None, Option("--vocab-size", min=2, help="Default: its own, else 256.")
    ] = None,
    d_model: Annotated[
        int | None,
        Option("--d-model", min=1, help="Width. Default: its own, else 64."),
    ] = None,
    layers: Annotated[
        int | None,
        Option("--layers", min=1, help="Depth. Default: its own, else 4."),
    ] = None,
    gate: Annotated[
        list[str] | None, Option("--gate", help="Only this gate; may be repeated.")
    ] = None,
    seed: Annotated[int, Option("--seed", help="Of ids, noise and weights.")] = 0,
    sandbox: Annotated[
        str | None,
        Option("--sandbox", help="Weakest sandbox for a model file: none, weak, good."),
    ] = None,
    json: Json = False,
) -> None:
    """Run the gates; exit 5 when one fails or a mandatory one could not be checked.

    A model file is built and judged inside the sandbox; a spec is built from the lab's own blocks.
    """
    only = tuple(gate or ())
    if Path(target).suffix == ".py":
        report, tier = _judge_file(target, vocab_size, d_model, layers, seed, only, sandbox)
    else:
        report, tier = _judge_spec(target, vocab_size, d_model, layers, seed, only), None
    if json:
        gates = [asdict(result) for result in report.results]
        print_json(
            {"target": target, "verdict": report.verdict, "sandbox_tier": tier, "gates": gates}
        )
    else:
        _print_report(target, report, tier)
    if report.verdict in {"fail", "unavailable"}:
        refused = [r for r in report.results if r.outcome == report.verdict]
        reasons = "; ".join(f"{result.name}: {result.detail}" for result in refused)
        raise GateRefusedError(f"the gates refuse {target!r}: {reasons}")


def _judge_file(
    target: str,
    vocab_size: int | None,
    d_model: int | None,
    layers: int | None,
    seed: int,
    only: tuple[str, ...],
    sandbox: str | None,
) -> "tuple[GateReport, str]":
    from arcfusion.agents.confinement import demand_tier
    from arcfusion.core.model_file import read_model_source, read_sizes
    from arcfusion.core.sandbox.tier import detect_tier
    from arcfusion.experiments.gates.confined import gate_source

    source = read_model_source(Path(target))
    own = read_sizes(source)
    report = gate_source(
        source,
        tier=demand_tier(sandbox),
        vocab_size=vocab_size or own.vocab_size,
        d_model=d_model or own.d_model,
        n_layers=layers or own.n_layers,
        seed=seed,
        only=only,
    )
    return report, str(detect_tier().tier)


def _judge_spec(
    target: str,
    vocab_size: int | None,
    d_model: int | None,
    layers: int | None,
    seed: int,
    only: tuple[str, ...],
) -> "GateReport":
    from arcfusion.agents.cli.architecture import resolve
    from arcfusion.core.model import LanguageModel
    from arcfusion.experiments.gates import run_gates, select_gates

    select_gates(only)
    spec = resolve(target).with_size(vocab_size=vocab_size, d_model=d_model, n_layers=layers)
    model = LanguageModel(spec, seed=seed)
    return run_gates(model, vocab_size=spec.vocab_size, seed=seed, only=only)


def _print_report(target: str, report: "GateReport", tier: str | None) -> None:
    where = f" (sandbox {tier})" if tier else ""
    print_text(f"{target}: {report.verdict}{where}")
    for result in report.results:
        figure = "" if result.figure is None else f"{result.figure:.3g}"
        limit = "" if result.limit is None else f" of at most {result.limit:g}"
        measured = f"{figure}{limit} {result.unit}: " if figure else ""
        print_text(f"  {result.name:<14}{result.outcome:<12}{measured}{result.detail}")
