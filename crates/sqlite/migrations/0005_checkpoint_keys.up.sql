-- Encryption of checkpoints at rest: which key a row is under, and metadata that nobody can read.

-- The key its metadata and values are encrypted under; null: they are not.
alter table checkpoints add column key_id text;
-- The metadata, encrypted; the column metadata is an empty object then.
alter table checkpoints add column sealed blob;
-- The key its value is encrypted under; null: it is not.
alter table checkpoint_writes add column key_id text;
-- The key the bytes are encrypted under and the hash is made with; null: neither.
alter table checkpoint_chunks add column key_id text;
