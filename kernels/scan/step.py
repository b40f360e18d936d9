"""One time step of the selective scan, for generation.

Shapes: B batch, D channel, N state.
"""

import torch


def selective_scan_step(
    u_BD: torch.Tensor,
    dt_BD: torch.Tensor,
    A_DN: torch.Tensor,
    B_BN: torch.Tensor,
    C_BN: torch.Tensor,
    D_D: torch.Tensor | None = None,
    *,
    state_BDN: torch.Tensor,
    z: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    dt_softplus: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advance h = exp(dt A) h + dt B u by one step and read y = C h + D u from it.

    Args:
        u_BD: input of this step.
        dt_BD: step size, before `dt_bias` and softplus.
        A_DN: decay rates, negative.
        B_BN: input weights.
        C_BN: output weights.
        D_D: weight of the direct path.
        state_BDN: the state so far, zeros at first; it is not written to.
        z: [B, D]; the output is multiplied by silu(z).
        dt_bias: [D], added to dt.
        dt_softplus: whether softplus is applied to dt after the bias.

    Returns:
        (y_BD in the dtype of u_BD, the new state in the dtype of state_BDN).
    """
    dtype = torch.promote_types(state_BDN.dtype, torch.promote_types(A_DN.dtype, torch.float32))
    u, dt = u_BD.to(dtype), dt_BD.to(dtype)
    if dt_bias is not None:
        dt = dt + dt_bias.to(dtype)
    if dt_softplus:
        dt = torch.nn.functional.softplus(dt)
    decay_BDN = torch.exp(dt[:, :, None] * A_DN.to(dtype))
    entering_BDN = (dt * u)[:, :, None] * B_BN.to(dtype)[:, None]
    h_BDN = torch.addcmul(entering_BDN, decay_BDN, state_BDN.to(dtype))
    y = (h_BDN * C_BN.to(dtype)[:, None]).sum(-1)
    if D_D is not None:
        y = torch.addcmul(y, u, D_D.to(dtype))
    if z is not None:
        y = y * torch.nn.functional.silu(z.to(dtype))
    return y.to(u_BD.dtype), h_BDN.to(state_BDN.dtype)
