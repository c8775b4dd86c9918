alter table mnemon.checkpoint_chunks drop column key_id;
alter table mnemon.checkpoint_writes drop column key_id;
alter table mnemon.checkpoints drop column hashes, drop column sealed, drop column key_id;
