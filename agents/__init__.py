"""The actors: worker, roles, command line. The top layer; nothing imports it."""

if __name__ != "arcfusion.agents":
    message = f"import arcfusion.agents, not {__name__}: keep the checkout's root off sys.path"
    raise ImportError(message)
