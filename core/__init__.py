"""The machine: what can be designed, built and trained by one process."""

if __name__ != "arcfusion.core":
    message = f"import arcfusion.core, not {__name__}: keep the checkout's root off sys.path"
    raise ImportError(message)
