-- Months that left the event log, and the words of what it keeps.

create table mnemon.event_log (
    one boolean not null default true primary key check (one),
    id  uuid    not null default gen_random_uuid()
);
comment on table  mnemon.event_log is 'One row about the event log.';
comment on column mnemon.event_log.one is 'Keeps the table at one row.';
comment on column mnemon.event_log.id is 'The log''s name: archives carry it, and what comes back to the same log keeps its places.';
insert into mnemon.event_log default values;

create table mnemon.event_gone (
    tenant  text   not null,
    month   date   not null,
    removal bigint not null,
    events  bigint not null,
    epoch   bigint not null,
    tx      xid8   not null,
    stream  text   not null,
    version bigint not null,
    primary key (tenant, month, removal)
);
comment on table  mnemon.event_gone is 'What retention removed from each tenant''s log: cursors from before it are told so.';
comment on column mnemon.event_gone.tenant is 'Whose.';
comment on column mnemon.event_gone.month is 'The month, by its first day.';
comment on column mnemon.event_gone.removal is 'Which removal of the month: the partition''s oid.';
comment on column mnemon.event_gone.events is 'How many events it took, less those that were put back.';
comment on column mnemon.event_gone.epoch is 'The epoch of the greatest place that went.';
comment on column mnemon.event_gone.tx is 'Its transaction.';
comment on column mnemon.event_gone.stream is 'Its stream.';
comment on column mnemon.event_gone.version is 'Its version.';

create table mnemon.event_words (
    tenant      text        not null,
    stream      text        not null,
    version     bigint      not null,
    recorded_at timestamptz not null,
    user_id     text,
    terms       tsvector    not null,
    primary key (tenant, stream, version)
);
comment on table  mnemon.event_words is 'The words of events, filled by upkeep where searching events is switched on.';
comment on column mnemon.event_words.tenant is 'Whose.';
comment on column mnemon.event_words.stream is 'The event''s stream.';
comment on column mnemon.event_words.version is 'The event''s version.';
comment on column mnemon.event_words.recorded_at is 'The event''s time.';
comment on column mnemon.event_words.user_id is 'The person it is about.';
comment on column mnemon.event_words.terms is 'Lexemes with positions, cut by mnemon: the kind B, strings of the data C; and @tenant without position.';
-- The tenant is a lexeme of its own.
create index event_words_terms on mnemon.event_words using gin (terms) with (gin_pending_list_limit = 512);
create index event_words_time on mnemon.event_words (tenant, recorded_at, stream collate "C", version);
create index event_words_recorded_upkeep on mnemon.event_words using brin (recorded_at);

create table mnemon.event_search_places (
    tenant  text   not null primary key,
    epoch   bigint not null,
    tx      xid8   not null,
    stream  text   not null,
    version bigint not null
);
comment on table  mnemon.event_search_places is 'Up to where each tenant''s log is in event_words.';
comment on column mnemon.event_search_places.tenant is 'Whose.';
comment on column mnemon.event_search_places.epoch is 'The epoch of the place behind what was indexed.';
comment on column mnemon.event_search_places.tx is 'Its transaction.';
comment on column mnemon.event_search_places.stream is 'Its stream.';
comment on column mnemon.event_search_places.version is 'Its version.';

create function mnemon.event_matches(
    p_tenant      text,
    p_query       text,
    p_user        text[],
    p_agent       text[],
    p_stream      text,
    p_kinds       text[],
    p_correlation text,
    p_from        timestamptz,
    p_to          timestamptz,
    p_at          timestamptz,
    p_at_stream   text,
    p_at_version  bigint,
    p_limit       integer
) returns setof mnemon.events
    language plpgsql volatile security definer
    rows 100
    set search_path = pg_catalog, pg_temp
    -- Planned for the question asked: how rare its words are decides the plan.
    set plan_cache_mode = force_custom_plan
    as $$
declare
    whose text := case when (select m.rls from mnemon.meta m) then mnemon.current_tenant() else p_tenant end;
    query tsquery := format('''@%s''', replace(replace(whose, '\', '\\'), '''', ''''''))::tsquery
        && p_query::tsquery;
begin
    return query
    select e.*
    from mnemon.event_words w
    join mnemon.events e on e.tenant = w.tenant and e.stream = w.stream and e.version = w.version
                        and e.recorded_at = w.recorded_at
    where w.terms @@ query
      and w.tenant = whose
      and (p_user is null or e.user_id = all (p_user))
      and (p_agent is null or e.agent_id = all (p_agent))
      and (p_stream is null or w.stream = p_stream)
      and (p_kinds is null or e.kind = any (p_kinds))
      and (p_correlation is null or e.correlation_id = p_correlation)
      and (p_from is null or w.recorded_at >= p_from)
      and (p_to is null or w.recorded_at < p_to)
      and (p_at is null or (w.recorded_at, w.stream collate "C", w.version)
                           < (p_at, p_at_stream, p_at_version))
    order by w.recorded_at desc, w.stream collate "C" desc, w.version desc
    limit p_limit;
end
$$;
comment on function mnemon.event_matches(text, text, text[], text[], text, text[], text, timestamptz, timestamptz, timestamptz, text, bigint, integer) is
    'Events that match a tsquery, the last recorded first. Runs as the owner, because @@ is not leakproof and would lose its index under row-level security; with that on it takes the tenant from the setting, never from the argument.';

create function mnemon.event_page(
    p_tenant  text,
    p_epoch   bigint,
    p_tx      xid8,
    p_stream  text,
    p_version bigint,
    p_before  bigint,
    p_horizon xid8,
    p_user    text[],
    p_agent   text[],
    p_kinds   text[],
    p_from    timestamptz,
    p_to      timestamptz,
    p_limit   integer
) returns setof mnemon.events
    language plpgsql stable parallel safe
    rows 100
    -- Planned without looking at the place: the planner takes a place of the newest epoch for one
    -- with nothing behind it, and would read and sort everything that follows.
    set plan_cache_mode = force_generic_plan
    set enable_sort = off
    as $$
begin
    return query
    select e.*
    from mnemon.events e
    where e.tenant = p_tenant
      and (e.epoch, e.tx, e.stream collate "C", e.version) > (p_epoch, p_tx, p_stream, p_version)
      and (e.epoch, e.tx) < (p_before, p_horizon)
      and (p_user is null or e.user_id = all (p_user))
      and (p_agent is null or e.agent_id = all (p_agent))
      and (p_kinds is null or e.kind = any (p_kinds))
      and (p_from is null or e.recorded_at >= p_from)
      and (p_to is null or e.recorded_at < p_to)
    order by e.epoch, e.tx, e.stream collate "C", e.version
    limit p_limit;
end
$$;
comment on function mnemon.event_page(text, bigint, xid8, text, bigint, bigint, xid8, text[], text[], text[], timestamptz, timestamptz, integer) is
    'The log after a place and below a horizon, by the index of places whatever statistics say. Runs as the caller, so that row-level security holds.';

do $$
declare
    made regprocedure;
    held record;
begin
    for made in
        select p.oid from pg_proc p
        where p.pronamespace = 'mnemon'::regnamespace and p.proname in ('event_matches', 'event_page')
    loop
        execute format('revoke execute on function %s from public', made);
        -- Whoever may call the search of memories may call these.
        for held in
            select distinct g.grantee::regrole as role
            from pg_proc p, aclexplode(p.proacl) g
            where p.pronamespace = 'mnemon'::regnamespace and p.proname = 'text_candidates'
              and g.grantee <> p.proowner and g.grantee <> 0
        loop
            execute format('grant execute on function %s to %s', made, held.role);
        end loop;
    end loop;
end
$$;
select mnemon.share_grants('mnemon.event_log');
select mnemon.share_grants(t), mnemon.guard(t) from mnemon.tenant_tables() as t;
