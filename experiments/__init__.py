"""Measured facts: spec + protocol + seed + commit -> numbers."""

if __name__ != "arcfusion.experiments":
    message = f"import arcfusion.experiments, not {__name__}: keep the checkout's root off sys.path"
    raise ImportError(message)
