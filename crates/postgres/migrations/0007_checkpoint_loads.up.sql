-- Loading a checkpoint costs what its server prepares to do, also where it does nothing of it. What only
-- some checkpoints have (parts, further channels, pending writes) is read by functions: a call that is
-- not made is not prepared either.

create function mnemon.checkpoint_values(
    p_tenant     text,
    p_thread     text,
    p_namespace  text,
    p_checkpoint text,
    p_hashes     bytea[],
    p_manifest   jsonb,
    p_known      bytea
) returns bytea[]
    language plpgsql stable parallel safe
    as $$
declare
    -- Called with ids that are compared as bytes, its arguments are too; the tenant's indexes are not.
    whose text collate "default" := p_tenant;
begin
    return array(
        -- Each by its key: a server that knows no statistics yet would read every value of the thread
        -- and compare.
        with named as materialized (
            select v.hash, v.codec, v.bytes
            from (
                select unnest(coalesce(p_hashes, array(
                    select decode(e.value ->> 'hash', 'hex')
                    from jsonb_each(p_manifest) e where e.value ? 'hash')))
                union
                select w.hash
                from mnemon.checkpoint_writes w
                where w.tenant = whose and w.thread_id = p_thread and w.namespace = p_namespace
                  and w.checkpoint_id = p_checkpoint
            ) as k (hash)
            cross join lateral (
                select c.hash, c.codec, c.bytes
                from mnemon.checkpoint_chunks c
                where c.tenant = whose and c.thread_id = p_thread and c.namespace = p_namespace
                  and c.hash = k.hash
                limit 1) v
        )
        select n.hash || int2send(n.codec) || n.bytes
        from named n
        where n.hash is distinct from p_known
        union all
        select v.hash || int2send(v.codec) || v.bytes
        from (
            select distinct substring(n.bytes from at for 32) as hash
            from named n cross join lateral generate_series(1, octet_length(n.bytes), 32) as at
            where n.codec = 2
        ) k
        cross join lateral (
            select c.hash, c.codec, c.bytes
            from mnemon.checkpoint_chunks c
            where c.tenant = whose and c.thread_id = p_thread and c.namespace = p_namespace
              and c.hash = k.hash
            limit 1) v
    );
end
$$;
comment on function mnemon.checkpoint_values(text, text, text, text, bytea[], jsonb, bytea) is
    'The values of a checkpoint and of its pending writes with all their parts, but for one that the caller knows: hash, codec and bytes after one another.';

create function mnemon.checkpoint_pending(
    p_tenant     text,
    p_thread     text,
    p_namespace  text,
    p_checkpoint text
) returns jsonb
    language plpgsql stable parallel safe
    as $$
declare
    -- Called with ids that are compared as bytes, its arguments are too; the tenant's indexes are not.
    whose text collate "default" := p_tenant;
begin
    return (
        select jsonb_agg(jsonb_build_object(
            'task_path', w.task_path, 'task_id', w.task_id, 'idx', w.idx,
            'channel', w.channel, 'type_tag', w.type_tag,
            'hash', encode(w.hash, 'hex'), 'size', w.size, 'key_id', w.key_id))
        from mnemon.checkpoint_writes w
        where w.tenant = whose and w.thread_id = p_thread and w.namespace = p_namespace
          and w.checkpoint_id = p_checkpoint
    );
end
$$;
comment on function mnemon.checkpoint_pending(text, text, text, text) is
    'The pending writes of a checkpoint, without their values.';

-- A lookup of a thread by its key and this index have the same first column. Without statistics the
-- planner thought them equal and went through all threads of the tenant. It may use an index with a
-- condition only for those who state the condition: the list of threads does. It holds for every row.
create index threads_recent on mnemon.threads (tenant, active_at desc, thread_id, namespace)
    where created_at > '-infinity';
drop index mnemon.threads_active;

-- A part that fits into a page stays in one piece: as four pieces of another table, each with an entry of
-- an index, it takes longer to write and to read, and no less room.
alter table mnemon.checkpoint_chunks set (toast_tuple_target = 8160);
