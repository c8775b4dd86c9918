alter table mnemon.checkpoint_chunks reset (toast_tuple_target);
create index threads_active on mnemon.threads (tenant, active_at desc, thread_id, namespace);
drop index mnemon.threads_recent;
drop function mnemon.checkpoint_pending(text, text, text, text);
drop function mnemon.checkpoint_values(text, text, text, text, bytea[], jsonb, bytea);
