"""The tables, as the newest migration leaves them. Nothing is created from here: only alembic changes the schema.

A test compares these tables with what the migrations make, so that neither can drift. Partial indexes are in
``conditions.py``, next to the conditions of the queries that they serve.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from lemmy_safety.ledger.schema.columns import (
    EnumText,
    HexBytes,
    JsonText,
    NameSet,
    RowId,
    UtcDateTime,
)
from lemmy_safety.ledger.schema.values import EventKind, Origin, UploadAnswer, WantedBy
from lemmy_safety.records import ActionState, ItemStatus, Outcome, PurgeState, Review

# Every constraint has a name, so that the legacy tool's renamed table never uses a name that ours needs.
metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s_%(column_0_name)s"})

storages = Table(
    "storages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    UniqueConstraint("name", name="uq_storages_name"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("storage_id", ForeignKey("storages.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("detectors", NameSet, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("complete", Boolean, nullable=False),
    Column("counts", JsonText),
)

# Who runs the pass over a storage: a row for each storage with a running pass, or with one whose process died.
leases = Table(
    "leases",
    metadata,
    Column("storage_id", ForeignKey("storages.id"), primary_key=True, autoincrement=False),
    Column("token", String(32), nullable=False),
    Column("kind", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("process_started", Double, nullable=False),
    # Both by the database's clock.
    Column("since", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("scope", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("scope", "name", name="pk_cursors"),
)

images = Table(
    "images",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("storage_id", ForeignKey("storages.id"), nullable=False),
    Column("key", Text, nullable=False),
    # The object as listed when it was judged; NULL for legacy rows.
    Column("size", BigInteger),
    Column("modified_at", UtcDateTime),
    Column("etag", Text),
    # What its bytes are.
    Column("sha256", HexBytes),
    Column("pdq", HexBytes),
    Column("pdq_quality", Integer),
    Column("media_type", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("frame_count", Integer),
    Column("duration_s", Double),
    Column("anomalies", JsonText),
    # What became of it in the last pass that checked it.
    Column("status", EnumText(ItemStatus), nullable=False),
    Column("reason", Text, nullable=False),
    Column("decoder", Text, nullable=False),
    # Whether the decoder broke on an unreadable object; NULL for others, and if no version of ours recorded it.
    Column("decoder_broke", Boolean),
    Column("checked_at", UtcDateTime, nullable=False),
    Column("run_id", ForeignKey("runs.id")),
    # In how many passes in a row it could not be read or judged, including the last one.
    Column("failed_passes", Integer, nullable=False, server_default="0"),
    # The verdict, NULL if there is none; never a verdict on other bytes than those described above.
    # "outcomes" are those of all domains by name; NULL if there is only csam, with the same outcome.
    Column("outcome", EnumText(Outcome)),
    Column("outcomes", JsonText),
    Column("nsfw", Boolean),
    Column("findings", JsonText),
    Column("detectors", NameSet, nullable=False),
    Column("rules_version", Text, nullable=False),
    Column("reused_from", Text),
    # Of a variant that was not read: the key of the original, in the same storage.
    Column("variant_of", Text),
    Column("dry_run", Boolean, nullable=False),
    Column("origin", EnumText(Origin), nullable=False),
    # How many times a verdict or its absence was written here; 0 for rows of the legacy tool.
    Column("judgement", Integer, nullable=False),
    # The action that applies to it now; NULL if none was ever wanted, or none since its latest judgement. No foreign
    # key:
    # SQLite cannot add one to a table that exists, and the two tables would need each other.
    Column("action_id", BigInteger),
    # A person's decision about it; the same as in reviews, if its hash is known.
    Column("review", EnumText(Review), nullable=False),
    Column("review_note", Text, nullable=False),
    Column("review_at", UtcDateTime),
    UniqueConstraint("storage_id", "key", name="uq_images_storage_key"),
    Index("ix_images_sha256", "sha256"),
)

# Every action that was ever wanted, one row each. It stays when its object is judged again and another one is wanted.
actions = Table(
    "actions",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("image_id", ForeignKey("images.id"), nullable=False),
    # What is done, such as "delete"; NULL if only the legacy tool knew.
    Column("kind", Text),
    Column("state", EnumText(ActionState), nullable=False),
    # The judgement of the object that it results from.
    Column("judgement", Integer, nullable=False),
    # What a limit counts once a day: the SHA-256 of the bytes, else the storage's number and the key.
    Column("subject", Text, nullable=False),
    # Where the object goes, for actions that keep it.
    Column("destination", Text),
    Column("detail", Text, nullable=False),
    Column("wanted_by", EnumText(WantedBy), nullable=False),
    Column("wanted_at", UtcDateTime),
    Column("run_id", ForeignKey("runs.id")),
    # When, and in which pass, it was first carried out; written just before that, and kept.
    Column("started_at", UtcDateTime),
    Column("started_run_id", ForeignKey("runs.id")),
    # When its state last changed.
    Column("changed_at", UtcDateTime),
    # When a person approved exactly this action.
    Column("approved_at", UtcDateTime),
    # Since when a person has to decide about this very object; NULL otherwise.
    Column("asks_since", UtcDateTime),
    Index("ix_actions_image_id", "image_id"),
    Index("ix_actions_started_at", "started_at"),
    Index("ix_actions_subject", "subject"),
)

# The state of the circuit breaker; one row.
breaker = Table(
    "breaker",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # When, why and in which pass it tripped; NULL while it is armed.
    Column("tripped_at", UtcDateTime),
    Column("limit_name", String(32)),
    Column("reason", Text, nullable=False),
    Column("run_id", ForeignKey("runs.id")),
    # When a person first decided about flags on this database.
    Column("decided_at", UtcDateTime),
    # How many different subjects were acted on before the breaker existed; they count towards no limit.
    Column("started_before", BigInteger, nullable=False),
)

# Pictures that are removed through pict-rs. Several flagged objects can be parts of one picture.
purges = Table(
    "purges",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("storage_id", ForeignKey("storages.id"), nullable=False),
    # Of the original, as pict-rs names it; NULL if pict-rs did not say.
    Column("sha256", HexBytes),
    # The key of the original.
    Column("original", Text, nullable=False),
    Column("state", EnumText(PurgeState), nullable=False),
    Column("planned_at", UtcDateTime, nullable=False),
    # When pict-rs last accepted the request, and how many times it did.
    Column("sent_at", UtcDateTime),
    Column("tries", Integer, nullable=False),
    Column("ended_at", UtcDateTime),
    # When "repair" began it, written just before; NULL if it results from an action.
    Column("repair_at", UtcDateTime),
    # When a person approved exactly this repair.
    Column("approved_at", UtcDateTime),
    Index("ix_purges_sha256", "sha256"),
    Index("ix_purges_state", "state"),
)

# The names in URLs that go with a picture: written before pict-rs is asked to remove it.
purge_aliases = Table(
    "purge_aliases",
    metadata,
    Column("purge_id", ForeignKey("purges.id"), nullable=False),
    Column("alias", Text, nullable=False),
    # What a proxied picture is a copy of; NULL if it is none, or not known.
    Column("origin_url", Text),
    # When caches were told that the picture is gone.
    Column("told_at", UtcDateTime),
    PrimaryKeyConstraint("purge_id", "alias", name="pk_purge_aliases"),
)

# The keys of a picture's objects, as far as they are known.
purge_keys = Table(
    "purge_keys",
    metadata,
    Column("purge_id", ForeignKey("purges.id"), nullable=False),
    Column("key", Text, nullable=False),
    PrimaryKeyConstraint("purge_id", "key", name="pk_purge_keys"),
    Index("ix_purge_keys_key", "key"),
)

# People's decisions about bytes; they outlive every object that held the bytes.
reviews = Table(
    "reviews",
    metadata,
    Column("sha256", HexBytes, primary_key=True),
    Column("review", EnumText(Review), nullable=False),
    Column("note", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

# Flags on bytes that no later judgement by the same detectors has replaced; see flags.py.
flags = Table(
    "flags",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("sha256", HexBytes, nullable=False),
    Column("detectors", NameSet, nullable=False),
    Column("rules_version", Text, nullable=False),
    Column("outcomes", JsonText),
    Column("nsfw", Boolean),
    Column("findings", JsonText),
    # The key of the object, or FROM_UPLOAD.
    Column("found_under", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_flags_sha256", "sha256"),
)

# Uploads the hook was asked about, keyed by SHA-256. What happens to them in a storage is in images, under the same
# hash.
uploads = Table(
    "uploads",
    metadata,
    Column("sha256", HexBytes, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("answer", EnumText(UploadAnswer), nullable=False),
    # What is known about the bytes, from the hook or later; judged_at is NULL until there was a final result.
    Column("status", EnumText(ItemStatus)),
    Column("reason", Text, nullable=False),
    Column("judged_at", UtcDateTime),
    Column("pdq", HexBytes),
    Column("pdq_quality", Integer),
    Column("media_type", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("frame_count", Integer),
    Column("duration_s", Double),
    Column("anomalies", JsonText),
    Column("outcome", EnumText(Outcome)),
    Column("outcomes", JsonText),
    Column("nsfw", Boolean),
    Column("findings", JsonText),
    Column("detectors", NameSet, nullable=False),
    Column("rules_version", Text, nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("times", Integer, nullable=False),
    # Where bytes that were accepted unchecked were found and judged.
    Column("found_storage_id", ForeignKey("storages.id")),
    Column("found_key", Text),
    # The storage of the pict-rs that asked, if the hook's settings name one.
    Column("storage_id", Integer),
    # Where pict-rs says that it has stored them, from 0.6 on.
    Column("storage_key", Text),
)

# Requests to the hook that pict-rs cannot have made; one row.
garbled_requests = Table(
    "garbled_requests",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("in_a_row", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("last_what", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("storage_id", ForeignKey("storages.id")),
    Column("key", Text),
    Column("sha256", HexBytes),
    Column("kind", EnumText(EventKind), nullable=False),
    Column("detail", JsonText),
    Column("run_id", ForeignKey("runs.id")),
    Index("ix_events_key", "key"),
)
