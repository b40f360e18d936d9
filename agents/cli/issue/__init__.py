"""`arcfusion issue`: the queue on the command line. One module a family of verbs."""

import typer

from arcfusion.agents.cli.issue import (
    dependency,
    exchange,
    filing,
    listing,
    memory,
    planning,
    working,
)

app = typer.Typer(help="The queue: what to do, who does it, how it ended.", no_args_is_help=True)

app.command("create")(filing.create)
app.command("ready")(listing.ready)
app.command("list")(listing.list_issues)
app.command("show")(listing.show)
app.command("blocked")(listing.blocked)
app.command("events")(listing.events)
app.command("claim")(working.claim)
app.command("heartbeat")(working.heartbeat)
app.command("checkpoint")(working.checkpoint)
app.command("release")(working.release)
app.command("fail")(working.fail)
app.command("close")(working.close)
app.command("reopen")(filing.reopen)
app.command("requeue")(filing.requeue)
app.command("update")(filing.update)
app.command("comment")(filing.comment)
app.command("note")(filing.note)
app.command("import")(exchange.import_issues)
app.command("export")(exchange.export)
app.command("verify")(exchange.verify)
app.command("schedule")(planning.schedule)
app.command("split")(planning.split)
app.command("gate")(planning.gate)
app.command("remember")(memory.remember)
app.command("recall")(memory.recall)
app.add_typer(dependency.dep_app, name="dep")
app.add_typer(dependency.label_app, name="label")
