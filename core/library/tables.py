"""What the machine remembers: papers, components, their relations, recipes and architectures.

Times are seconds since 1970 (UTC). JSON columns hold canonical JSON text.
"""

from typing import ClassVar

from sqlmodel import Field, SQLModel


class Paper(SQLModel, table=True):
    """Where a component comes from."""

    __tablename__: ClassVar[str] = "paper"

    id: str = Field(primary_key=True)
    citation: str
    arxiv_id: str | None = None
    year: int


class ComponentRecord(SQLModel, table=True):
    """A component as the library lists it. Ports are axis letters; options are JSON defaults."""

    __tablename__: ClassVar[str] = "component"

    name: str = Field(primary_key=True)
    category: str = Field(index=True)
    description: str
    input_port: str
    output_port: str
    options: str
    factory: str
    paper_id: str = Field(foreign_key="paper.id")
    year: int
    time_complexity: str
    space_complexity: str
    causal: int
    stateful: int


class ComponentRelation(SQLModel, table=True):
    """How well two components are known to go together; `first` < `second`.

    `evidence` is a JSON list of the engines that have both.
    """

    __tablename__: ClassVar[str] = "component_relation"

    first: str = Field(primary_key=True, foreign_key="component.name")
    second: str = Field(primary_key=True, foreign_key="component.name")
    score: float
    evidence: str


class Architecture(SQLModel, table=True):
    """A net by what is built: `fingerprint`, and `code_sha256` of its model file.

    `spec` is an ArchSpec's JSON; None for a model file from elsewhere.
    """

    __tablename__: ClassVar[str] = "architecture"

    id: str = Field(primary_key=True)
    name: str
    spec: str | None = None
    fingerprint: str = Field(index=True)
    code_sha256: str | None = None
    created_at: float


class Recipe(SQLModel, table=True):
    """One dream: how an architecture came to be. `parents` is a JSON list of names."""

    __tablename__: ClassVar[str] = "recipe"

    id: str = Field(primary_key=True)
    architecture_id: str = Field(foreign_key="architecture.id", index=True)
    strategy: str
    seed: int
    parents: str
    reasoning: str
    score: float
    issue_id: str | None = Field(default=None, index=True)
    created_at: float


class Adjustment(SQLModel, table=True):
    """One change that a recipe needed to be trainable, with its reason."""

    __tablename__: ClassVar[str] = "adjustment"

    recipe_id: str = Field(primary_key=True, foreign_key="recipe.id")
    position: int = Field(primary_key=True)
    kind: str
    original: str
    adjusted: str
    reason: str
    component: str | None = None
