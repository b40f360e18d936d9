"""The selective scan as one plain loop over time: the truth that the other backends are held to.

Shapes: B batch, L time, D channel, N state.
"""

import torch


def selective_scan_reference(
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

    Everything is computed in fp32, or in fp64 when any input is fp64, by autograd alone.
    The arguments are those of `selective_scan`.

    Source: Gu and Dao, arXiv:2312.00752, algorithm 2.
    """
    dtype = torch.float32
    for tensor in (u_BLD, dt_BLD, A_DN, B_BLN, C_BLN, D_D, z, dt_bias, h0):
        dtype = dtype if tensor is None else torch.promote_types(dtype, tensor.dtype)
    u, dt = u_BLD.to(dtype), dt_BLD.to(dtype)
    A, B, C = A_DN.to(dtype), B_BLN.to(dtype), C_BLN.to(dtype)
    if dt_bias is not None:
        dt = dt + dt_bias.to(dtype)
    if dt_softplus:
        dt = torch.nn.functional.softplus(dt)
    h_BDN = u.new_zeros(u.shape[0], *A.shape) if h0 is None else h0.to(dtype)
    outputs = []
    # unbind, because the backward of x[:, t] is quadratic in L.
    for u_t, dt_t, B_t, C_t in zip(
        u.unbind(1), dt.unbind(1), B.unbind(1), C.unbind(1), strict=True
    ):
        decay_BDN = torch.exp(dt_t[:, :, None] * A)
        h_BDN = torch.addcmul((dt_t * u_t)[:, :, None] * B_t[:, None], decay_BDN, h_BDN)
        outputs.append((h_BDN * C_t[:, None]).sum(-1))
    y = torch.stack(outputs, dim=1)
    if D_D is not None:
        y = y + u * D_D.to(dtype)
    if z is not None:
        y = y * torch.nn.functional.silu(z.to(dtype))
    y = y.to(u_BLD.dtype)
    return (y, h_BDN) if return_state else y
