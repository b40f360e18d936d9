"""Mamba-1: a short convolution, then a linear recurrence whose coefficients depend on the token.

Shapes: B batch, T time, D model width, E inner width = expand * D, R rank of dt, N state,
K convolution taps.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from arcfusion.core.blocks.component import (
    Argument,
    BlockOptions,
    Component,
    Port,
    StateBytes,
    Surroundings,
)
from arcfusion.core.blocks.mixer import Mixer
from arcfusion.core.blocks.projection import projection
from arcfusion.kernels.conv import causal_conv1d
from arcfusion.kernels.conv.step import causal_conv1d_step
from arcfusion.kernels.scan import selective_scan
from arcfusion.kernels.scan.step import selective_scan_step

DT_MIN = 1e-3
DT_MAX = 0.1


def inverse_softplus(x: Tensor) -> Tensor:
    """Return y with softplus(y) = x, for x > 0."""
    return x + torch.log(-torch.expm1(-x))


class Mamba1(Mixer):
    """u, z = in_proj(x); u = silu(conv(u)); y = scan(u) * silu(z); out_proj(y).

    The scan's step dt = softplus(dt_proj(..) + bias), input map B and read-out C are functions of
    u; A = -exp(A_log) starts at -1 .. -N in every channel, the step at 0.001 .. 0.1, log-uniform.

    Args:
        d_model: width D of the input and the output.
        d_state: N, state values per inner channel.
        d_conv: K, taps of the causal depthwise convolution.
        expand: E / D.
        dt_rank: R, width through which dt is computed.

    Source: Gu and Dao 2023, arXiv:2312.00752; initial values as in state-spaces/mamba.
    """

    def __init__(self, d_model: int, d_state: int, d_conv: int, expand: int, dt_rank: int) -> None:
        super().__init__()
        d_inner = expand * d_model
        self.d_inner = d_inner
        self.d_state = d_state
        self.d_conv = d_conv
        self.dt_rank = dt_rank
        self.in_proj = projection(d_model, 2 * d_inner)
        bound = d_conv**-0.5
        self.conv_weight = nn.Parameter(torch.empty(d_inner, d_conv).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.empty(d_inner).uniform_(-bound, bound))
        self.x_proj = projection(d_inner, dt_rank + 2 * d_state)
        bound = dt_rank**-0.5
        self.dt_weight = nn.Parameter(torch.empty(d_inner, dt_rank).uniform_(-bound, bound))
        dt_E = torch.exp(torch.empty(d_inner).uniform_(math.log(DT_MIN), math.log(DT_MAX)))
        self.dt_bias = nn.Parameter(inverse_softplus(dt_E))
        states_N = torch.arange(1, d_state + 1, dtype=torch.float32)
        self.A_log = nn.Parameter(states_N.log().repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = projection(d_inner, d_model)

    def _coefficients(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return dt before bias and softplus [.., E], B [.., N] and C [.., N] for u [.., E]."""
        widths = [self.dt_rank, self.d_state, self.d_state]
        dt, B, C = self.x_proj(u).split(widths, dim=-1)
        return nn.functional.linear(dt, self.dt_weight), B, C

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Mix a whole sequence."""
        u_BTE, z_BTE = self.in_proj(x_BTD).chunk(2, dim=-1)
        u_BTE = causal_conv1d(u_BTE, self.conv_weight, self.conv_bias, activation="silu")
        dt_BTE, B_BTN, C_BTN = self._coefficients(u_BTE)
        y_BTE = selective_scan(
            u_BTE,
            dt_BTE,
            -torch.exp(self.A_log),
            B_BTN,
            C_BTN,
            self.D,
            z=z_BTE,
            dt_bias=self.dt_bias,
            dt_softplus=True,
        )
        y_BTD: Tensor = self.out_proj(y_BTE)
        return y_BTD

    def initial_state(
        self, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        """Return zeros: the last K - 1 inputs of the convolution [B, K - 1, E], h [B, E, N].

        h is in at least fp32.
        """
        inputs_BKE = torch.zeros(
            batch_size, self.d_conv - 1, self.d_inner, device=device, dtype=dtype
        )
        h_BEN = torch.zeros(
            batch_size,
            self.d_inner,
            self.d_state,
            device=device,
            dtype=torch.promote_types(dtype, torch.float32),
        )
        return inputs_BKE, h_BEN

    def step(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Advance the convolution and the recurrence by one token."""
        inputs_BKE, h_BEN = state
        u_BE, z_BE = self.in_proj(x_BD).chunk(2, dim=-1)
        u_BE, inputs_BKE = causal_conv1d_step(
            u_BE, self.conv_weight, self.conv_bias, state_BKD=inputs_BKE, activation="silu"
        )
        dt_BE, B_BN, C_BN = self._coefficients(u_BE)
        y_BE, h_BEN = selective_scan_step(
            u_BE,
            dt_BE,
            -torch.exp(self.A_log),
            B_BN,
            C_BN,
            self.D,
            state_BDN=h_BEN,
            z=z_BE,
            dt_bias=self.dt_bias,
            dt_softplus=True,
        )
        return self.out_proj(y_BE), (inputs_BKE, h_BEN)


class Mamba1Options(BlockOptions):
    """State N, taps K, expansion E / D, and the rank of dt (0 = one sixteenth of the width)."""

    d_state: int = Field(16, ge=1, le=256)
    d_conv: int = Field(4, ge=1, le=8)
    expand: int = Field(2, ge=1, le=8)
    dt_rank: int = Field(0, ge=0, le=1024)

    def resolved(self, d_model: int) -> "Mamba1Options":
        """Return the options with the rank of dt as a number: ceil(D / 16) when it is 0."""
        return self.model_copy(update={"dt_rank": self.dt_rank or math.ceil(d_model / 16)})


def _arguments(
    options: Mamba1Options, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    del surroundings
    return {"d_model": d_model, **options.resolved(d_model).model_dump()}


def _count_projections(options: Mamba1Options, d_model: int) -> int:
    resolved = options.resolved(d_model)
    d_inner = resolved.expand * d_model
    per_channel = 3 * d_model + 2 * resolved.dt_rank + 2 * resolved.d_state
    return d_inner * per_channel


def _count_parameters(options: Mamba1Options, d_model: int) -> int:
    # Beside the projections: taps and bias of the convolution, bias of dt, A_log, D.
    d_inner = options.expand * d_model
    return _count_projections(options, d_model) + d_inner * (options.d_conv + options.d_state + 3)


def _flops_per_token(options: Mamba1Options, d_model: int, context: int) -> float:
    # A state value takes 8: dt A, exp, (dt u) B, decay h and its sum with the input (2), the
    # read-out (2), and one for the softplus and dt u of its channel. A channel takes 2 K for the
    # taps, 2 for D and 2 for the gate.
    del context
    d_inner = options.expand * d_model
    recurrence = d_inner * (8.0 * options.d_state + 2.0 * options.d_conv + 4.0)
    return 2.0 * _count_projections(options, d_model) + recurrence


def _state_bytes(
    options: Mamba1Options, d_model: int, context: int, bytes_per_value: int
) -> StateBytes:
    # h is fp32 at least, whatever the dtype of the rest.
    del context
    d_inner = options.expand * d_model
    window = d_inner * (options.d_conv - 1) * bytes_per_value
    return StateBytes(window + d_inner * options.d_state * max(4, bytes_per_value), 0)


def _activation_values(options: Mamba1Options, d_model: int) -> int:
    # Input; u and z, convolved u, dt, scan output, gated output as 7 E; dt before its map, B, C.
    # The scan keeps its state at chunk borders only, which is not counted.
    resolved = options.resolved(d_model)
    d_inner = resolved.expand * d_model
    return d_model + 7 * d_inner + resolved.dt_rank + 2 * resolved.d_state


COMPONENT = Component(
    name="mamba1",
    category="mixer",
    description="selective state space: a gated recurrence whose decay and input follow the token",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=Mamba1Options,
    factory="arcfusion.core.blocks.mamba1:Mamba1",
    arguments=_arguments,
    count_parameters=_count_parameters,
    flops_per_token=_flops_per_token,
    state_bytes=_state_bytes,
    activation_values=_activation_values,
    source="Gu and Dao 2023, arXiv:2312.00752",
    year=2023,
    time_complexity="O(T D N + T D^2)",
    space_complexity="O(D N)",
    causal=True,
    stateful=True,
)
