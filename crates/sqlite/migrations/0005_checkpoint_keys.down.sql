alter table checkpoint_chunks drop column key_id;
alter table checkpoint_writes drop column key_id;
alter table checkpoints drop column sealed;
alter table checkpoints drop column key_id;
