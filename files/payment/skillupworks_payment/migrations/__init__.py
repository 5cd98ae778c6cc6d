"""The ledger's schema through the releases, by Alembic; `upgrade` brings a ledger to what this release needs.

Migrations add, and remove only what the release before does without: it must be able to run on the schema of this one,
because a rollback puts it back. For the same reason a ledger that a newer release has migrated is left as it is.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

# A migration's file name begins with its revision, and they are numbered.
NEWEST = max(path.name for path in Path(__file__).parent.glob("versions/*.py")).partition("_")[0]


def upgrade(connection: Connection) -> None:
    """Apply what is missing, inside the connection's transaction. The caller sees to it that nobody else does."""
    version = text("SELECT version_num FROM alembic_version")
    if inspect(connection).has_table("alembic_version") and connection.scalar(version) == NEWEST:
        return
    # Imported only when there is something to do: it takes a third of the time of a start.
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None or current in known:
        command.upgrade(config, "head")
