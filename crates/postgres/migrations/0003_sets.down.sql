-- The active set stays; the others go with their vectors.
do $$
declare
    gone record;
begin
    for gone in select id from mnemon.embedding_sets where state <> 'active'
    loop
        execute format('drop table if exists mnemon.embeddings_%s', gone.id);
    end loop;
end
$$;
update mnemon.memory_domains set embedding_set = null, centroid = null
where embedding_set not in (select id from mnemon.embedding_sets where state = 'active');
delete from mnemon.embedding_sets where state <> 'active';
drop index mnemon.embedding_sets_filling;
alter table mnemon.embedding_sets
    drop column lacking,
    drop column lease_until,
    drop column fence,
    drop column holder,
    drop constraint embedding_sets_state_check,
    add constraint embedding_sets_state_check check (state in ('active'));
comment on column mnemon.embedding_sets.state is 'active: written and searched.';
