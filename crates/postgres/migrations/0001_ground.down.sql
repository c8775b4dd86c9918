-- Takes the ground away, embedding sets included. The schema and the list of migrations stay for the migrator.
do $$
declare
    target regclass;
begin
    for target in select c.oid::regclass from pg_class c
        where c.relnamespace = 'mnemon'::regnamespace and c.relkind = 'r' and c.relname ~ '^embeddings_[0-9]+$'
    loop
        execute format('drop table %s', target);
    end loop;
end
$$;
drop table mnemon.memory_domains;
drop table mnemon.memory_edges;
drop table mnemon.memory_accesses;
drop table mnemon.memory_reviews;
drop table mnemon.memory_scheduling;
drop table mnemon.memory_requests;
drop table mnemon.memories;
drop table mnemon.text_corpus;
drop table mnemon.text_terms;
drop table mnemon.text_deltas;
drop table mnemon.embedding_sets;
drop table mnemon.event_members;
drop table mnemon.event_consumers;
drop table mnemon.events;
drop table mnemon.event_streams;
drop table mnemon.upkeep_tasks;
drop table mnemon.erasure_permits;
drop table mnemon.meta;
drop function mnemon.text_candidates(text, text, text, text[], text, text[], text, text[], text[], timestamptz, timestamptz, text[], jsonb, timestamptz, timestamptz, timestamptz, double precision, integer);
drop function mnemon.metadata_passes(jsonb, jsonb);
drop function mnemon.retrievability(double precision, timestamptz, timestamptz);
drop function mnemon.grant_to(regrole);
drop function mnemon.share_grants(regclass);
drop function mnemon.set_rls(boolean);
drop function mnemon.tenant_tables();
drop function mnemon.guard(regclass);
drop function mnemon.current_tenant();
drop function mnemon.now();
