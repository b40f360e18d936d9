"""`arcfusion data`: the texts that models are trained on."""

from typing import Annotated

from arcfusion.agents.cli.output import Json, format_table, print_json, print_text
from arcfusion.agents.cli.parameter import Argument, Group

app = Group(help="The texts that models are trained on.")


@app.command("list")
def list_corpora(json: Json = False) -> None:
    """List the corpora, and which of them can be read without the network."""
    from arcfusion.core.data.corpus import SOURCES, is_cached
    from arcfusion.core.home import find_home

    cache = find_home().cache_path
    rows = [
        {
            "name": name,
            "licence": source.licence,
            "is_local": is_cached(name, cache),
            "description": source.description,
        }
        for name, source in SOURCES.items()
    ]
    if json:
        print_json(rows)
    else:
        cells = [
            (row["name"], row["licence"], "yes" if row["is_local"] else "no", row["description"])
            for row in rows
        ]
        print_text(format_table(("NAME", "LICENCE", "LOCAL", "DESCRIPTION"), cells))


@app.command("fetch")
def fetch(
    name: Annotated[str, Argument(help="A corpus, or the path of a .txt or .parquet file.")],
    json: Json = False,
) -> None:
    """Read a text, downloading it into the lab's cache when it is not there yet."""
    from arcfusion.core.data.corpus import load_corpus
    from arcfusion.core.home import find_home

    corpus = load_corpus(name, find_home().cache_path)
    if json:
        print_json(
            {
                "name": corpus.name,
                "sha256": corpus.sha256,
                "size_bytes": len(corpus.data),
                "licence": corpus.licence,
                "description": corpus.description,
            }
        )
    else:
        print_text(f"{corpus.name}: {len(corpus.data):,} bytes, sha256 {corpus.sha256}")
        print_text(f"{corpus.description}; licence {corpus.licence}")
