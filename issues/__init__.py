"""The memory: what to do, who holds it, how it ended."""

if __name__ != "arcfusion.issues":
    message = f"import arcfusion.issues, not {__name__}: keep the checkout's root off sys.path"
    raise ImportError(message)
