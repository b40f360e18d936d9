"""What can be wrong with a call of a kernel.

`kernels` is the lowest layer, so these are plain exceptions; a command that wants an exit code
for one of them catches it where it knows what the user asked for.
"""


class KernelError(Exception):
    """A kernel can not run as it was called."""


class ShapeError(KernelError, ValueError):
    """A tensor's rank or size is not the one that the operation needs."""


class DtypeError(KernelError, TypeError):
    """A tensor's dtype is not one that the operation computes in."""


class BackendUnavailableError(KernelError, RuntimeError):
    """The named backend does not exist, or can not run this call here."""
