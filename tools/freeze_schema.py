"""Freeze a released schema for the migration tests: tests/data/schema_<revision>/{sqlite,postgresql}.sql.

Run it once, when the revision is released, and write rows.json beside it by hand (every table, in an order in which
rows may be put in): python tools/freeze_schema.py 0001
"""

import hashlib
import importlib
import io
import sys
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations

from bongsu.receiver.store import migrations
from bongsu.receiver.store.schema import metadata

ROOT = Path(__file__).parents[1]
VERSIONS = Path(str(migrations.__file__)).parent / "versions"


def ddl(dialect: str, upto: str) -> str:
    """The statements that make the schema of a revision, from nothing."""
    out = io.StringIO()
    context = MigrationContext.configure(
        dialect_name=dialect, opts={"as_sql": True, "output_buffer": out, "target_metadata": metadata}
    )
    with Operations.context(context):
        for name in sorted(path.stem for path in VERSIONS.glob("v*.py")):
            module = importlib.import_module(f"bongsu.receiver.store.migrations.versions.{name}")
            if module.revision <= upto:
                module.upgrade()
    version = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);\n"
    return f"{out.getvalue()}\n{version}INSERT INTO alembic_version VALUES ('{upto}');\n"


def main() -> None:
    """Write both files, and the migration's own digest, so that nobody changes it afterwards."""
    revision = sys.argv[1]
    folder = ROOT / "tests" / "data" / f"schema_{revision}"
    folder.mkdir(parents=True, exist_ok=True)
    for dialect in ("sqlite", "postgresql"):
        (folder / f"{dialect}.sql").write_text(ddl(dialect, revision), encoding="utf-8")
    (source,) = VERSIONS.glob(f"v{revision}_*.py")
    (folder / "migration.sha256").write_text(f"{hashlib.sha256(source.read_bytes()).hexdigest()}  {source.name}\n")
    print(f"wrote {folder}")


if __name__ == "__main__":
    main()
