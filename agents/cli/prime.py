"""`arcfusion prime`: what an agent reads at its start."""

from arcfusion.agents.cli.output import Actor, Json, print_json, print_text


def command(actor: Actor = None, json: Json = False) -> None:
    """Say in at most 1,500 tokens how to work here, what is to do, and what is known."""
    from arcfusion.agents.cli.options import read_config
    from arcfusion.agents.prime import build_prime, estimate_tokens
    from arcfusion.core.environment import actor_name
    from arcfusion.core.home import find_home
    from arcfusion.issues.view import View

    with View(find_home(), config=read_config()) as view:
        text = build_prime(view, actor or actor_name())
    if json:
        print_json({"text": text, "tokens": estimate_tokens(text)})
    else:
        print_text(text.rstrip("\n"))
