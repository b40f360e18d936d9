"""The selective scan in cache-sized chunks of time, plain torch, with its own backward.

Shapes: B batch, L time, T time inside a chunk, D channel, N state. A chunk's states are laid
out as [T, B, N, D]: D last is what the vector units want.

Within a chunk the recurrence runs step by step: nothing is ever divided by a cumulative decay,
so a decay that underflows to zero is a zero and not a NaN. The forward saves the state at the
start of each chunk, and the backward recomputes the others.

Only torch is imported here: generated model files carry a copy of this source.
"""

import torch


class ScanContext(torch.autograd.function.FunctionCtx):
    """What the forward leaves for the backward, typed."""

    dt_softplus: bool
    saved_tensors: tuple[torch.Tensor, ...]


class ScanChunk:
    """The decays and states of one chunk, in memory that is used again for the next chunk.

    Fresh memory for each chunk would cost more time than the arithmetic in it.
    """

    def __init__(self, h_BND: torch.Tensor, length: int) -> None:
        self.decay_TBND = h_BND.new_empty(length, *h_BND.shape)
        self.states_TBND = h_BND.new_empty(length, *h_BND.shape)
        self.decay_steps = self.decay_TBND.unbind(0)
        self.state_steps = self.states_TBND.unbind(0)

    def advance(
        self,
        steps_TBD: torch.Tensor,
        entering_TBD: torch.Tensor,
        A_ND: torch.Tensor,
        B_TBN: torch.Tensor,
        h_BND: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the chunk's decays and states, both [T, B, N, D].

        `entering_TBD` is dt * u and `h_BND` the state before the chunk.
        """
        length = len(steps_TBD)
        decay_TBND, states_TBND = self.decay_TBND[:length], self.states_TBND[:length]
        # exp2 takes a third of the time of exp on CPU; 1.4427 is log2(e).
        torch.mul(steps_TBD[:, :, None], A_ND * 1.4426950408889634, out=decay_TBND).exp2_()
        torch.mul(entering_TBD[:, :, None], B_TBN[..., None], out=states_TBND)
        for state_BND, decay_BND in zip(
            self.state_steps[:length], self.decay_steps[:length], strict=True
        ):
            h_BND = state_BND.addcmul_(decay_BND, h_BND)
        return decay_TBND, states_TBND


class ScanChunkAdjoint:
    """The gradients of one chunk's states, in memory that is used again for the next chunk."""

    def __init__(self, h_BND: torch.Tensor, length: int) -> None:
        self.dh_TBND = h_BND.new_empty(length, *h_BND.shape)
        self.dh_steps = self.dh_TBND.unbind(0)

    def retreat(
        self,
        dout_TBD: torch.Tensor,
        C_TBN: torch.Tensor,
        decay_steps: tuple[torch.Tensor, ...],
        carry_BND: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the gradient of each state of the chunk, and of the state before it.

        `carry_BND` is the gradient that the last state gets from later chunks.
        """
        length = len(dout_TBD)
        dh_TBND, dh = self.dh_TBND[:length], self.dh_steps[:length]
        torch.mul(dout_TBD[:, :, None], C_TBN[..., None], out=dh_TBND)
        dh[-1].add_(carry_BND)
        for t in range(length - 1, 0, -1):
            dh[t - 1].addcmul_(decay_steps[t], dh[t])
        return dh_TBND, decay_steps[0] * dh[0]


def pick_chunk_length(state_elements: int) -> int:
    """Choose the steps of a chunk so that one [T, B, N, D] buffer is about 2 MB of fp32."""
    return max(4, min(64, 2**19 // state_elements))


def load_chunk(
    inputs: tuple[torch.Tensor, ...], span: slice, dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    """Copy the chunk that lies in the span of time out of each [B, L, X], as [T, B, X]."""
    return tuple(x_BLX[:, span].transpose(0, 1).to(dtype).contiguous() for x_BLX in inputs)


def compute_steps(dt_TBD: torch.Tensor, *, dt_softplus: bool) -> torch.Tensor:
    """Turn biased dt into the step sizes."""
    return torch.nn.functional.softplus(dt_TBD) if dt_softplus else dt_TBD


def sum_over_state(weight_TBN: torch.Tensor, x_TBND: torch.Tensor) -> torch.Tensor:
    """Contract N: [T, B, N] with [T, B, N, D] to [T, B, D]."""
    length, batch, states, channels = x_TBND.shape
    weight, x = weight_TBN.view(-1, 1, states), x_TBND.view(-1, states, channels)
    return torch.bmm(weight, x).view(length, batch, channels)


def sum_over_channels(weight_TBD: torch.Tensor, x_TBND: torch.Tensor) -> torch.Tensor:
    """Contract D: [T, B, D] with [T, B, N, D] to [T, B, N]."""
    length, batch, states, channels = x_TBND.shape
    weight, x = weight_TBD.view(-1, 1, channels), x_TBND.view(-1, states, channels)
    # The vector goes on the left: on the right it takes ten times as long.
    return torch.bmm(weight, x.transpose(1, 2)).view(length, batch, states)


def rate_adjoint(
    dh_TBND: torch.Tensor, decay_TBND: torch.Tensor, states_TBND: torch.Tensor, h_BND: torch.Tensor
) -> torch.Tensor:
    """Compute the gradient of dt * A, that is dh * decay * the state before, over the decay."""
    drate_TBND = decay_TBND.mul_(dh_TBND)
    drate_TBND[0].mul_(h_BND)
    drate_TBND[1:].mul_(states_TBND[:-1])
    return drate_TBND


def gate_adjoint(
    dy_TBD: torch.Tensor, out_TBD: torch.Tensor, z_TBD: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Differentiate y = out * silu(z): the gradients of out and of z."""
    sigmoid_TBD = torch.sigmoid(z_TBD)
    gate_TBD = z_TBD * sigmoid_TBD
    # silu'(z) = sigmoid + silu * (1 - sigmoid)
    slope_TBD = torch.addcmul(sigmoid_TBD, gate_TBD, 1 - sigmoid_TBD)
    return dy_TBD * gate_TBD, slope_TBD.mul_(out_TBD).mul_(dy_TBD)


class ChunkedScan(torch.autograd.Function):
    """The scan with a backward that recomputes each chunk from the state at its start."""

    @staticmethod
    def forward(
        ctx: ScanContext,
        u_BLD: torch.Tensor,
        dt_BLD: torch.Tensor,
        A_DN: torch.Tensor,
        B_BLN: torch.Tensor,
        C_BLN: torch.Tensor,
        D_D: torch.Tensor,
        z_BLD: torch.Tensor | None,
        dt_bias_D: torch.Tensor,
        h0_BDN: torch.Tensor,
        dt_softplus: bool,  # noqa: FBT001 - autograd.Function.apply takes positions only
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return y_BLD in the dtype of u_BLD, and the last state in the dtype of h0_BDN.

        A_DN, D_D, dt_bias_D and h0_BDN come in the dtype of accumulation.
        """
        dtype = h0_BDN.dtype
        A_ND = A_DN.t().contiguous()
        h_BND = h0_BDN.transpose(1, 2).contiguous()
        length = pick_chunk_length(h_BND.numel())
        chunk = ScanChunk(h_BND, min(length, u_BLD.shape[1]))
        y_BLD = torch.empty(u_BLD.shape, dtype=u_BLD.dtype, device=u_BLD.device)
        starts = []
        with torch.autocast(u_BLD.device.type, enabled=False):
            for start in range(0, u_BLD.shape[1], length):
                span = slice(start, start + length)
                u, dt, B, C = load_chunk((u_BLD, dt_BLD, B_BLN, C_BLN), span, dtype)
                steps = compute_steps(dt + dt_bias_D, dt_softplus=dt_softplus)
                starts.append(h_BND)
                _, states = chunk.advance(steps, steps * u, A_ND, B, h_BND)
                # A copy, because the next chunk writes over the memory.
                h_BND = states[-1].clone()
                out = sum_over_state(C, states).addcmul_(u, D_D)
                if z_BLD is not None:
                    (z,) = load_chunk((z_BLD,), span, dtype)
                    out.mul_(torch.nn.functional.silu(z))
                y_BLD[:, span] = out.transpose(0, 1)
        ctx.dt_softplus = dt_softplus
        gate = () if z_BLD is None else (z_BLD,)
        inputs = (u_BLD, dt_BLD, A_ND, B_BLN, C_BLN, D_D, dt_bias_D)
        ctx.save_for_backward(*inputs, torch.stack(starts), *gate)
        return y_BLD, h_BND.transpose(1, 2).contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: ScanContext, dy_BLD: torch.Tensor, dh_BDN: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of each argument of forward; a second derivative is an error."""
        u_BLD, dt_BLD, A_ND, B_BLN, C_BLN, D_D, dt_bias_D, starts, *gate = ctx.saved_tensors
        inputs, dtype = (u_BLD, dt_BLD, B_BLN, C_BLN, dy_BLD), starts.dtype
        length = pick_chunk_length(starts[0].numel())
        chunk = ScanChunk(starts[0], min(length, u_BLD.shape[1]))
        adjoint = ScanChunkAdjoint(starts[0], min(length, u_BLD.shape[1]))
        du_BLD, ddt_BLD, dB_BLN, dC_BLN = (torch.empty_like(x) for x in inputs[:4])
        dz_BLD = torch.empty_like(gate[0]) if gate else None
        dA_ND, dD_D, dbias_D = (torch.zeros_like(x) for x in (A_ND, D_D, dt_bias_D))
        carry = dh_BDN.transpose(1, 2)
        with torch.autocast(u_BLD.device.type, enabled=False):
            for index in reversed(range(len(starts))):
                span = slice(index * length, (index + 1) * length)
                u, dt, B, C, dout = load_chunk(inputs, span, dtype)
                dt = dt + dt_bias_D
                steps = compute_steps(dt, dt_softplus=ctx.dt_softplus)
                entering = steps * u
                decay, states = chunk.advance(steps, entering, A_ND, B, starts[index])
                if dz_BLD is not None:
                    out = sum_over_state(C, states).addcmul_(u, D_D)
                    (z,) = load_chunk((gate[0],), span, dtype)
                    dout, dz = gate_adjoint(dout, out, z)
                    dz_BLD[:, span] = dz.transpose(0, 1)
                dh, carry = adjoint.retreat(dout, C, chunk.decay_steps, carry)
                dB_BLN[:, span] = sum_over_channels(entering, dh).transpose(0, 1)
                dC_BLN[:, span] = sum_over_channels(dout, states).transpose(0, 1)
                dentering = sum_over_state(B, dh)
                drate = rate_adjoint(dh, decay, states, starts[index])
                dsteps = torch.mul(drate, A_ND, out=dh).sum(2).addcmul_(dentering, u)
                if ctx.dt_softplus:
                    dsteps.mul_(torch.sigmoid(dt))
                ddt_BLD[:, span] = dsteps.transpose(0, 1)
                du_BLD[:, span] = (dentering * steps).addcmul_(dout, D_D).transpose(0, 1)
                dA_ND += drate.mul_(steps[:, :, None]).sum((0, 1))
                dD_D += (dout * u).sum((0, 1))
                dbias_D += dsteps.sum((0, 1))
        dh0_BDN = carry.transpose(1, 2)
        return (du_BLD, ddt_BLD, dA_ND.t(), dB_BLN, dC_BLN, dD_D, dz_BLD, dbias_D, dh0_BDN, None)


def selective_scan_chunked(
    u_BLD: torch.Tensor,
    dt_BLD: torch.Tensor,
    A_DN: torch.Tensor,
    B_BLN: torch.Tensor,
    C_BLN: torch.Tensor,
    D_D: torch.Tensor | None = None,
    *,
    z: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    dt_softplus: bool = False,
    h0: torch.Tensor | None = None,
    return_state: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Run h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] u[t]; y[t] = C[t] h[t] + D u[t].

    Args:
        u_BLD: input.
        dt_BLD: step size, before `dt_bias` and softplus.
        A_DN: decay rates, negative.
        B_BLN: input weights.
        C_BLN: output weights.
        D_D: weight of the direct path from u to y.
        z: [B, L, D]; y is multiplied by silu(z).
        dt_bias: [D], added to dt.
        dt_softplus: whether softplus is applied to dt after the bias.
        h0: [B, D, N], the state before the first step; zeros when absent.
        return_state: whether the state after the last step is returned too.

    Returns:
        y_BLD in the dtype of u_BLD; with `return_state`, (y_BLD, state_BDN). Accumulated in
        fp32, or in fp64 when any input is fp64. Differentiable once.

    Source: Gu and Dao, arXiv:2312.00752.
    """
    dtype = torch.float32
    for x in (u_BLD, dt_BLD, A_DN, B_BLN, C_BLN, D_D, z, dt_bias, h0):
        dtype = dtype if x is None else torch.promote_types(dtype, x.dtype)
    A_DN = A_DN.to(dtype)
    D_D = A_DN.new_zeros(len(A_DN)) if D_D is None else D_D.to(dtype)
    dt_bias = A_DN.new_zeros(len(A_DN)) if dt_bias is None else dt_bias.to(dtype)
    h0 = A_DN.new_zeros(len(u_BLD), *A_DN.shape) if h0 is None else h0.to(dtype)
    y_BLD, state_BDN = ChunkedScan.apply(  # type: ignore[no-untyped-call]  # torch's own
        u_BLD, dt_BLD, A_DN, B_BLN, C_BLN, D_D, z, dt_bias, h0, dt_softplus
    )
    return (y_BLD, state_BDN) if return_state else y_BLD
