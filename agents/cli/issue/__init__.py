"""`arcfusion issue`: the queue on the command line. One module a family of verbs."""

from arcfusion.agents.cli.parameter import Group

# Module and name in it, by verb. Only the module of the verb that runs is loaded: the others cost
# as much as a claim.
VERBS: dict[str, str] = {
    "create": "filing:create",
    "ready": "listing:ready",
    "list": "listing:list_issues",
    "show": "listing:show",
    "blocked": "listing:blocked",
    "events": "listing:events",
    "claim": "working:claim",
    "heartbeat": "working:heartbeat",
    "checkpoint": "working:checkpoint",
    "release": "working:release",
    "ask": "working:ask",
    "answer": "filing:answer",
    "fail": "working:fail",
    "close": "working:close",
    "reopen": "filing:reopen",
    "requeue": "filing:requeue",
    "update": "filing:update",
    "comment": "filing:comment",
    "note": "filing:note",
    "import": "exchange:import_issues",
    "export": "exchange:export",
    "verify": "exchange:verify",
    "doctor": "doctor:doctor",
    "schedule": "planning:schedule",
    "split": "planning:split",
    "gate": "planning:gate",
    "capacity": "capacity:capacity",
    "remember": "memory:remember",
    "recall": "memory:recall",
    "memories": "memory:memories",
    "forget": "memory:forget",
    "dep": "dependency:dep_app",
    "label": "dependency:label_app",
}

app = Group(
    help="The queue: what to do, who does it, how it ended.",
    places={verb: f"{__name__}.{place}" for verb, place in VERBS.items()},
)
