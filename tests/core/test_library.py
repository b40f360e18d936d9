import json
from datetime import UTC, datetime

import pytest
import torch
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel, select

from arcfusion.core import store
from arcfusion.core.blocks import component_names
from arcfusion.core.home import new_home
from arcfusion.core.library import relations as relations_module
from arcfusion.core.library import tables
from arcfusion.core.library.catalog import UnknownTargetError, list_entries, resolve_spec
from arcfusion.core.library.engines import list_engines
from arcfusion.core.library.record import (
    ImpossibleYearError,
    UnknownComponentError,
    load_record,
    load_records,
    parse_source,
)
from arcfusion.core.library.relations import PRIOR, Relations
from arcfusion.core.library.seeds import add_architecture, seed_library
from arcfusion.core.model import LanguageModel
from arcfusion.core.spec import ArchSpec

NOW = datetime(2026, 7, 1, tzinfo=UTC)
CORE_TABLES = {
    "paper",
    "component",
    "component_relation",
    "architecture",
    "recipe",
    "adjustment",
}


@pytest.fixture
def home(tmp_path):
    home = new_home(tmp_path)
    store.create(home)
    return home


def test_every_component_has_a_record_with_ports_a_source_and_code_that_loads():
    records = load_records(this_year=2026)
    assert [record.name for record in records] == component_names()
    for record in records:
        assert record.input_port == "B T D float"
        assert record.output_port == "B T D float"
        assert 1943 <= record.source.year <= 2026
        assert record.causal
    assert load_record("mamba1", this_year=2026).options["d_state"] == 16


def test_an_unknown_component_is_refused_with_the_known_ones():
    with pytest.raises(UnknownComponentError, match=r"'hyena'.*mamba1"):
        load_record("hyena", this_year=2026)


@pytest.mark.parametrize(
    ("citation", "year"),
    [
        ("Gu and Dao, arXiv:2312.00752", 2312),
        ("Gu and Dao, arXiv:2312.00752", 2017),
        ("Anon", 1810),
        ("Anon", 2027),
    ],
)
def test_an_impossible_year_is_refused(citation, year):
    with pytest.raises(ImpossibleYearError):
        parse_source(citation, year, this_year=2026)


def test_an_arxiv_number_gives_the_papers_id_and_a_later_printing_is_allowed():
    source = parse_source("Gu and Dao, arXiv:2312.00752", 2024, this_year=2026)
    assert (source.paper_id, source.arxiv_id) == ("arXiv:2312.00752", "2312.00752")
    assert parse_source("McCulloch and Pitts", 1943, this_year=2026).arxiv_id is None


def test_the_known_engines_are_there_build_and_differ():
    engines = list_engines()
    assert {e.name for e in engines} == {
        "Transformer",
        "GPT-2",
        "LLaMA",
        "Mistral",
        "Mamba",
        "Jamba",
        "LinearTransformer",
    }
    assert len({e.spec.digest() for e in engines}) == len(engines)
    for engine in engines:
        parse_source(engine.paper, engine.year, this_year=2026)
        logits = LanguageModel(engine.spec, seed=0)(torch.zeros(1, 3, dtype=torch.int64))
        assert logits.shape == (1, 3, 256)


def test_an_engine_lists_its_parts_in_the_order_in_which_data_meets_them():
    parts = {e.name: e.components() for e in list_engines()}
    assert parts["LLaMA"][:5] == ["rope", "rmsnorm", "mha", "rmsnorm", "swiglu"]
    assert parts["LLaMA"][-1] == "rmsnorm"
    assert parts["Jamba"].count("gqa") == 1
    assert parts["Jamba"].count("mamba1") == 7


def test_a_relation_is_what_the_engines_say_and_the_prior_without_evidence():
    relations = Relations(list_engines())
    # mha is in three engines, layernorm in three, two of them the same.
    assert relations.score("mha", "layernorm") == pytest.approx(PRIOR + (1 - PRIOR) * 2 / 4)
    assert relations.score("mqa", "mlp") == PRIOR
    pairs = relations.list()
    assert len(pairs) == len(component_names()) * (len(component_names()) - 1) / 2
    assert len({round(pair.score, 6) for pair in pairs}) >= 5
    assert all(0 <= pair.score <= 1 for pair in pairs)
    by_names = {(p.first, p.second): p for p in pairs}
    assert by_names["layernorm", "mha"].evidence == ("GPT-2", "Transformer")


def test_components_whose_ports_do_not_fit_have_no_relation(monkeypatch):
    class Misfit:
        class output_port:
            @staticmethod
            def fits(other):
                return False

    real = relations_module.load_component
    monkeypatch.setattr(
        relations_module, "load_component", lambda n: Misfit if n == "mha" else real(n)
    )
    assert Relations(list_engines()).score("mha", "layernorm") == 0.0


def seed(home):
    with store.session(home) as session:
        return seed_library(session, now=NOW, identify=lambda spec: "fp" + spec.digest()[:16])


def test_seeding_writes_the_library_once(home):
    assert seed(home) > 0
    assert seed(home) == 0
    with store.session(home) as session:
        components = session.exec(select(tables.ComponentRecord)).all()
        assert {row.name for row in components} == set(component_names())
        papers = {row.id: row for row in session.exec(select(tables.Paper)).all()}
        assert papers["arXiv:2312.00752"].year == 2023
        assert all(row.paper_id in papers for row in components)
        names = {row.name for row in session.exec(select(tables.Architecture)).all()}
        assert names == {e.name for e in list_engines()}
        relation = session.get(tables.ComponentRelation, ("layernorm", "mha"))
        assert json.loads(relation.evidence) == ["GPT-2", "Transformer"]


def test_an_impossible_year_leaves_the_database_as_it_was(home):
    with pytest.raises(ImpossibleYearError), store.session(home) as session:
        seed_library(session, now=datetime(2018, 1, 1, tzinfo=UTC), identify=lambda _: "")
    with store.session(home) as session:
        assert session.exec(select(tables.Paper)).all() == []


def test_the_migration_makes_exactly_the_tables_of_the_core(home):
    with store.open_engine(home).connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_name": lambda name, kind, _: kind != "table" or name in CORE_TABLES,
                "include_object": lambda _o, name, kind, _r, _c: (
                    kind != "table" or name in CORE_TABLES
                ),
            },
        )
        assert compare_metadata(context, SQLModel.metadata) == []
    assert set(SQLModel.metadata.tables) >= CORE_TABLES


def test_an_architecture_is_found_as_file_preset_engine_saved_name_and_id(home, tmp_path):
    spec = ArchSpec.preset("mqa").replaced(name="my-own", tied_head=False)
    with store.session(home) as session:
        assert add_architecture(session, spec, "fp0", now=NOW)
        assert not add_architecture(session, spec, "fp0", now=NOW)
    path = tmp_path / "one.yaml"
    path.write_text(spec.to_yaml())
    connection = store.connect(home)
    saved = list_entries(connection)[-1]
    assert (saved.name, saved.origin, saved.fingerprint) == ("my-own", "saved", "fp0")
    for name in (str(path), "my-own", saved.id):
        assert resolve_spec(name, connection) == spec
    assert resolve_spec("mqa", connection) == ArchSpec.preset("mqa")
    assert resolve_spec("jamba", None).name == "Jamba"
    with pytest.raises(UnknownTargetError, match=r"'my-own'.*mqa.*Jamba"):
        resolve_spec("my-own", None)
    with pytest.raises(UnknownTargetError, match=r"can not read.*gone\.yaml.*No such file"):
        resolve_spec(str(tmp_path / "gone.yaml"), connection)
    connection.close()
