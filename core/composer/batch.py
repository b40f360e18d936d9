"""One composer call: a strategy asked again and again, until enough new architectures have come."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import NamedTuple

from arcfusion.core.composer.grammar import Adjustment, Constraints, Grammar
from arcfusion.core.composer.proposal import Proposal, Request, Strategy
from arcfusion.core.composer.score import compute_score
from arcfusion.core.errors import BadInputError
from arcfusion.core.ids import short_id
from arcfusion.core.library.engines import Engine, list_engines
from arcfusion.core.library.relations import Relations
from arcfusion.core.spec import ArchSpec, SpecError

STRATEGIES: dict[str, str] = {
    "random": "arcfusion.core.composer.sample:propose",
    "greedy": "arcfusion.core.composer.greedy:propose",
    "mutate": "arcfusion.core.composer.mutate:propose",
    "crossover": "arcfusion.core.composer.crossover:propose",
}
DRAWS_PER_DREAM = 10
SPARE_DRAWS = 50


class UnknownStrategyError(BadInputError):
    """There is no strategy of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A proposal that was not kept: what it is, and what it repeats."""

    spec: ArchSpec
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dream:
    """A kept proposal, with the identity of the model that it builds.

    Args:
        parents: names of the architectures that it came from.
        changes: what `parent.diff(spec)` says, for a dream with one parent.
        score: in [0, 1]; orders the dreams of a batch (see `composer.score`), predicts no loss.
        seed: of the whole batch; `index` is the draw, so that both name this dream again.
        dropped: proposals that came before it and were not new.
    """

    spec: ArchSpec
    strategy: str
    parents: tuple[str, ...]
    reasoning: str
    changes: tuple[str, ...]
    adjustments: tuple[Adjustment, ...]
    score: float
    fingerprint: str
    seed: int
    index: int
    dropped: tuple[Dropped, ...]


def identify_spec(spec: ArchSpec) -> str:
    """Return the fingerprint of the model that the spec builds."""
    from arcfusion.core.identity import fingerprint
    from arcfusion.core.model import LanguageModel

    return fingerprint(LanguageModel(spec, seed=0), vocab_size=spec.vocab_size)


def dream(
    strategy: str,
    *,
    seed: int,
    n: int,
    parents: Sequence[ArchSpec] = (),
    known: Collection[str] = (),
    constraints: Constraints | None = None,
    identify: Callable[[ArchSpec], str] = identify_spec,
) -> list[Dream]:
    """Return up to n architectures that are not known yet; the same arguments give the same ones.

    Args:
        strategy: a key of `STRATEGIES`.
        seed: of all choices.
        n: how many to look for; fewer come when the strategy keeps repeating itself.
        parents: what `mutate` and `crossover` start from; the known engines when empty.
        known: fingerprints that were built before.
        constraints: sizes and allowed components; the defaults are the lab's CPU size.
        identify: spec -> fingerprint.

    Raises:
        UnknownStrategyError: the message lists those there are.
        BadInputError: n is below 1; the constraints leave nothing; a parent can not be built at
            their width; no second parent for a crossover fits there.
    """
    if n < 1:
        raise BadInputError(f"n is {n}: at least 1")
    propose = load_strategy(strategy)
    request = _make_request(parents, constraints or Constraints())
    sieve = _Sieve(request.parents, known, identify)
    dreams: list[Dream] = []
    dropped: list[Dropped] = []
    for index in range(DRAWS_PER_DREAM * n + SPARE_DRAWS):
        if len(dreams) == n:
            break
        # A draw does not depend on what was dropped before it.
        proposal = propose(request, Random(f"{strategy}/{seed}/{index}"), index)  # noqa: S311 - no secret
        if proposal is None:
            continue
        spec = proposal.spec.replaced(name=short_id(strategy, proposal.spec.digest(), length=6))
        fingerprint, reason = sieve.check(spec)
        if reason is not None:
            dropped.append(Dropped(spec=spec, reason=reason))
            continue
        score = compute_score(spec, request.relations, request.engines).total
        origin = _Origin(strategy, seed, index)
        dreams.append(_make_dream(proposal, spec, fingerprint, score, origin, dropped))
        dropped = []
    return dreams


class _Origin(NamedTuple):
    """What names a dream again."""

    strategy: str
    seed: int
    draw: int


def _make_dream(
    proposal: Proposal,
    spec: ArchSpec,
    fingerprint: str,
    score: float,
    origin: _Origin,
    dropped: Sequence[Dropped],
) -> Dream:
    return Dream(
        spec=spec,
        strategy=origin.strategy,
        parents=tuple(parent.name for parent in proposal.parents),
        reasoning=proposal.reasoning,
        changes=_list_changes(proposal),
        adjustments=proposal.adjustments,
        score=round(score, 4),
        fingerprint=fingerprint,
        seed=origin.seed,
        index=origin.draw,
        dropped=tuple(dropped),
    )


def load_strategy(name: str) -> Strategy:
    """Return the strategy's `propose`.

    Raises:
        UnknownStrategyError: there is none; the message lists those there are.
    """
    if name not in STRATEGIES:
        raise UnknownStrategyError(f"unknown strategy {name!r}: known are {', '.join(STRATEGIES)}")
    module_name, _, attribute = STRATEGIES[name].partition(":")
    propose: Strategy = getattr(import_module(module_name), attribute)
    return propose


class _Sieve:
    """Remembers what was met, by what it says and by what it builds."""

    def __init__(
        self,
        parents: Sequence[ArchSpec],
        known: Collection[str],
        identify: Callable[[ArchSpec], str],
    ) -> None:
        self._said = {p.digest(): f"it is its parent {p.name}" for p in parents}
        self._built = dict.fromkeys(known, "its model was built before")
        self._identify = identify

    def check(self, spec: ArchSpec) -> tuple[str, str | None]:
        """Return the fingerprint, and why the spec is not new; builds only what it must."""
        digest = spec.digest()
        if digest in self._said:
            return "", self._said[digest]
        self._said[digest] = f"it says the same as {spec.name}"
        fingerprint = self._identify(spec)
        reason = self._built.get(fingerprint)
        self._built.setdefault(fingerprint, f"it builds the same model as {spec.name}")
        return fingerprint, reason


def _make_request(parents: Sequence[ArchSpec], constraints: Constraints) -> Request:
    grammar = Grammar(constraints)
    engines = tuple(list_engines())
    engine_specs = tuple(_fit_engines(grammar, engines))
    return Request(
        grammar=grammar,
        relations=Relations(engines),
        engines=engines,
        engine_specs=engine_specs,
        parents=tuple(grammar.fit(parent) for parent in parents) or engine_specs,
    )


def _fit_engines(grammar: Grammar, engines: Sequence[Engine]) -> list[ArchSpec]:
    """Return the engines that can be built at the constraints' width."""
    fitting = []
    for engine in engines:
        try:
            fitting.append(grammar.fit(engine.spec))
        except SpecError:
            continue
    return fitting


def _list_changes(proposal: Proposal) -> tuple[str, ...]:
    if len(proposal.parents) != 1:
        return ()
    return tuple(proposal.parents[0].diff(proposal.spec))
