"""The ground: pure tensor functions. No I/O, no configuration."""

if __name__ != "arcfusion.kernels":
    message = f"import arcfusion.kernels, not {__name__}: keep the checkout's root off sys.path"
    raise ImportError(message)
