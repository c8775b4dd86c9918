-- Encryption of checkpoints at rest: which key a row is under, and metadata that nobody can read.
-- And which values a checkpoint names, so that reading one need not take its manifest apart first.

alter table mnemon.checkpoints add column key_id text, add column sealed bytea, add column hashes bytea[];
comment on column mnemon.checkpoints.key_id is 'The key its metadata and values are encrypted under; null: they are not.';
comment on column mnemon.checkpoints.sealed is 'The metadata, encrypted; the column metadata is an empty object then.';
comment on column mnemon.checkpoints.hashes is 'The hashes in the manifest; null in rows that are older than the column.';

alter table mnemon.checkpoint_writes add column key_id text;
comment on column mnemon.checkpoint_writes.key_id is 'The key its value is encrypted under; null: it is not.';

alter table mnemon.checkpoint_chunks add column key_id text;
comment on column mnemon.checkpoint_chunks.key_id is 'The key the bytes are encrypted under and the hash is made with; null: neither.';
