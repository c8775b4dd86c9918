-- Which vectors changed, in order: what a process keeps of them in memory is brought up to date by
-- reading on from where it stands. A row of no set's name: a change of a memory's owner concerns all.

create table vector_changes (
    -- Without gaps; begins again only in an empty file.
    seq integer primary key,
    -- The memory whose vector, or whose audience, changed.
    memory integer not null
) strict;

-- Whoever fell further behind reads everything anew (core: VECTOR_CHANGES).
create trigger vector_changes_trimmed after insert on vector_changes
begin
    delete from vector_changes where seq = new.seq - 100000;
end;

-- Who may see a memory is kept beside its vector.
create trigger memories_audience after update of tenant, user_id, agent_id, visibility on memories
when old.visibility is not new.visibility or old.user_id is not new.user_id
    or old.agent_id is not new.agent_id or old.tenant is not new.tenant
begin
    insert into vector_changes (memory) values (new.memory);
end;
