-- Indexed parts of embedding sets: new vectors stand in embeddings_<set>, unindexed; upkeep moves
-- them in bulk into embeddings_<set>_seg_<n>, each with an HNSW index.

create table mnemon.embedding_segments (
    set_id     integer     not null references mnemon.embedding_sets (id) on delete cascade,
    number     integer     not null,
    state      text        not null check (state in ('opening', 'filling', 'indexing', 'ready', 'retired', 'free')),
    sources    integer[]   not null default '{}',
    rows       bigint      not null default 0,
    changed_at timestamptz not null default mnemon.now(),
    primary key (set_id, number)
);
comment on table  mnemon.embedding_segments is 'Parts of embedding sets that have an index; their vectors stand in embeddings_<set_id>_seg_<number>.';
comment on column mnemon.embedding_segments.set_id is 'The embedding set.';
comment on column mnemon.embedding_segments.number is 'The number in the table''s name.';
comment on column mnemon.embedding_segments.state is 'opening: made known to those who remove vectors; filling: vectors are copied; indexing; ready: searched; retired: merged into another, for those who still read it; free: empty, to be used again.';
comment on column mnemon.embedding_segments.sources is 'The segments it is merged from; none: the unindexed part.';
comment on column mnemon.embedding_segments.rows is 'Vectors it was made with.';
comment on column mnemon.embedding_segments.changed_at is 'When its state last changed.';

-- Lets a user's own, unowned and shared memories be found together, without the private ones of others.
create index memories_common on mnemon.memories (tenant, visibility, id) where visibility <> 'private';

-- Everybody reads which segments there are; only the owner changes it.
do $$
declare
    held record;
begin
    for held in
        select distinct g.grantee::regrole as role
        from pg_class c, aclexplode(c.relacl) g
        where c.oid = 'mnemon.memories'::regclass and g.grantee <> c.relowner and g.grantee <> 0
          and g.privilege_type = 'SELECT'
    loop
        execute format('grant select on mnemon.embedding_segments to %s', held.role);
    end loop;
end
$$;
