"""What a dream may be made of: every value that the strategies choose from builds a model.

A dream is `position, norm, head` around a list of `mixer + channel` layers. The choices of a
component are the grid of `OPTION_VALUES`, without those that its own options refuse at this width.
A component without a line there is offered with its defaults.
"""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from random import Random
from typing import Literal, get_args

from arcfusion.core.blocks import CHANNELS, MIXERS, load_component
from arcfusion.core.errors import BadInputError
from arcfusion.core.spec import ArchSpec, Choice, LayerSpec, OptionValue, SpecError, known_or_error

Norm = Literal["rmsnorm", "layernorm"]
Position = Literal["rope", "learned", "none"]
NORMS: tuple[Norm, ...] = get_args(Norm)
POSITIONS: tuple[Position, ...] = get_args(Position)

OPTION_VALUES: dict[str, dict[str, tuple[OptionValue, ...]]] = {
    "mha": {"n_heads": (1, 2, 4, 8, 16)},
    "gqa": {"n_heads": (4, 8, 16), "n_kv_heads": (2, 4, 8)},
    "mqa": {"n_heads": (2, 4, 8, 16)},
    "linear_attention": {"n_heads": (1, 2, 4, 8)},
    "mamba1": {"d_state": (4, 8, 16, 32), "d_conv": (2, 3, 4), "expand": (1, 2)},
    "mlp": {"ratio": (2.0, 3.0, 4.0)},
    "swiglu": {"ratio": (4 / 3, 2.0, 8 / 3)},
}
MIN_HEAD_DIM = 4


class BadConstraintsError(BadInputError):
    """Nothing can be dreamed inside these constraints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """The frame of every dream of a batch; an empty tuple allows every component of its kind."""

    vocab_size: int = 256
    d_model: int = 64
    min_layers: int = 1
    max_layers: int = 8
    max_seq_len: int = 1024
    mixers: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.min_layers <= self.max_layers:
            raise BadConstraintsError(
                f"layers from {self.min_layers} to {self.max_layers}: "
                "at least 1, and the first not above the second"
            )
        for kind in self.mixers:
            known_or_error("mixer", kind, MIXERS)
        for kind in self.channels:
            known_or_error("channel mixer", kind, CHANNELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A change that a dream needed beside what the strategy chose, with its reason."""

    kind: Literal["param_change"]
    original: str
    adjusted: str
    reason: str
    component: str | None = None


@dataclass(frozen=True, slots=True)
class _Around:
    """What a component may know of its surroundings."""

    position: str
    max_seq_len: int


@dataclass(frozen=True)
class Grammar:
    """All choices inside the constraints."""

    constraints: Constraints
    _choices: dict[tuple[str, str], tuple[Choice, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, kinds in (("mixer", self.mixer_kinds), ("channel mixer", self.channel_kinds)):
            if not kinds:
                raise BadConstraintsError(f"no {what} fits d_model {self.constraints.d_model}")

    @cached_property
    def mixer_kinds(self) -> tuple[str, ...]:
        """Mixers that can be built at this width, with any position."""
        kinds = self.constraints.mixers or tuple(MIXERS)
        return tuple(k for k in kinds if all(self.choices(k, p) for p in POSITIONS))

    @cached_property
    def channel_kinds(self) -> tuple[str, ...]:
        """Channel mixers that can be built at this width."""
        kinds = self.constraints.channels or tuple(CHANNELS)
        return tuple(k for k in kinds if self.choices(k, "none"))

    def choices(self, kind: str, position: str) -> tuple[Choice, ...]:
        """Return every way to set the component's options here; the first is closest to default."""
        key = (kind, position)
        if key not in self._choices:
            self._choices[key] = self._list_choices(kind, position)
        return self._choices[key]

    def _list_choices(self, kind: str, position: str) -> tuple[Choice, ...]:
        d_model = self.constraints.d_model
        around = _Around(position, self.constraints.max_seq_len)
        values = OPTION_VALUES.get(kind, {})
        found: list[Choice] = []
        for combination in product(*values.values()):
            choice = Choice(kind=kind, options=dict(zip(values, combination, strict=True)))
            if choice.parsed().problems(d_model, around) or not self._is_proper(choice):
                continue
            choice = choice.resolved(d_model)
            if choice not in found:
                found.append(choice)
        default = Choice(kind=kind).resolved(d_model).options
        found.sort(key=lambda c: sum(c.options[o] != v for o, v in default.items()))
        return tuple(found)

    def _is_proper(self, choice: Choice) -> bool:
        """Whether heads have some width, and a grouping groups: else another component says it."""
        n_heads, n_kv_heads = choice.options.get("n_heads"), choice.options.get("n_kv_heads")
        if isinstance(n_heads, int) and self.constraints.d_model // n_heads < MIN_HEAD_DIM:
            return False
        return n_kv_heads is None or n_kv_heads != n_heads

    def draw_layer(self, rng: Random, position: str) -> LayerSpec:
        """Return a layer: each component, then each setting of it, with equal chance."""
        mixer = rng.choice(self.mixer_kinds)
        channel = rng.choice(self.channel_kinds)
        return LayerSpec(
            mixer=rng.choice(self.choices(mixer, position)),
            channel=rng.choice(self.choices(channel, position)),
        )

    def neighbours(self, choice: Choice, position: str) -> list[Choice]:
        """Return the settings of the same component that differ in exactly one option."""
        return [
            other
            for other in self.choices(choice.kind, position)
            if sum(value != choice.options[name] for name, value in other.options.items()) == 1
        ]

    def build(
        self,
        layers: tuple[LayerSpec, ...],
        *,
        norm: str,
        position: str,
        tied_head: bool,
    ) -> ArchSpec:
        """Return the spec, at the constraints' sizes."""
        return ArchSpec(
            vocab_size=self.constraints.vocab_size,
            d_model=self.constraints.d_model,
            layers=layers,
            norm=norm,
            position=position,
            max_seq_len=self.constraints.max_seq_len,
            tied_head=tied_head,
        )

    def fit(self, parent: ArchSpec) -> ArchSpec:
        """Return the parent at the constraints' sizes.

        Raises:
            SpecError: it can not be built at this width.
        """
        count = min(
            max(len(parent.layers), self.constraints.min_layers), self.constraints.max_layers
        )
        sized = parent.with_size(
            vocab_size=self.constraints.vocab_size,
            d_model=self.constraints.d_model,
            n_layers=count,
        )
        return sized.replaced(max_seq_len=self.constraints.max_seq_len)

    def uses_rope(self, choice: Choice) -> bool:
        """Whether the component is built otherwise when positions are rotary."""
        component = load_component(choice.kind)
        options, c = choice.parsed(), self.constraints
        with_rope, without = (
            component.arguments(options, c.d_model, _Around(position, c.max_seq_len))
            for position in ("rope", "none")
        )
        return with_rope != without

    def tidy(self, spec: ArchSpec) -> tuple[ArchSpec, tuple[Adjustment, ...]]:
        """Take out what would have no effect: rotary positions that no mixer applies."""
        if spec.position != "rope" or any(self.uses_rope(layer.mixer) for layer in spec.layers):
            return spec, ()
        adjustment = Adjustment(
            kind="param_change",
            original="position: rope",
            adjusted="position: none",
            reason="no mixer of this architecture applies rotary positions",
            component="rope",
        )
        return spec.replaced(position="none"), (adjustment,)


def try_replaced(spec: ArchSpec, **changes: object) -> ArchSpec | None:
    """Return the changed spec, or None when it can not be built."""
    try:
        return spec.replaced(**changes)
    except SpecError:
        return None
