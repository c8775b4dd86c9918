-- Every vector back into its set's unindexed part, then the segments go.
do $$
declare
    segment record;
begin
    for segment in select set_id, number, state, sources from mnemon.embedding_segments loop
        if segment.state = 'ready' then
            execute format('insert into mnemon.embeddings_%s select * from mnemon.embeddings_%s_seg_%s on conflict do nothing',
                           segment.set_id, segment.set_id, segment.number);
        end if;
        execute format('drop table mnemon.embeddings_%s_seg_%s', segment.set_id, segment.number);
    end loop;
end
$$;
drop index mnemon.memories_common;
drop table mnemon.embedding_segments;
