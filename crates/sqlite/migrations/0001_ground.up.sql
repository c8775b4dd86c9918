-- The ground: one row about the schema, memories with their words, embedding sets, events,
-- upkeep, permits to erase. Times are microseconds since 1970 in UTC; JSON is text.

-- "Mnem": tells this file from another application's.
pragma application_id = 1299080557;

create table meta (
    one integer primary key check (one = 1),
    schema_version integer not null,
    min_binary integer not null,
    created_at integer not null
) strict;

create table schema_history (
    version integer primary key,
    name text not null,
    applied_at integer not null
) strict;

-- What decides visibility stands first, so that a check does not read through the text.
create table memories (
    memory integer primary key autoincrement,
    id blob not null,
    tenant text not null,
    user_id text,
    agent_id text,
    visibility text not null,
    expires_at integer,
    namespace text not null,
    node_type text not null,
    created_at integer not null,
    shared_with text not null,
    tags text not null,
    words integer not null,
    session_id text,
    run_id text,
    key text,
    request_id text,
    codebase text,
    source text,
    domains text not null,
    domain_scores text not null,
    valid_from integer,
    valid_until integer,
    updated_at integer not null,
    content_hash blob not null,
    dedup integer not null,
    -- The numbers of its text_terms, so that its words are found again whatever cut them.
    terms blob not null,
    metadata text not null,
    content text not null
) strict;

create unique index memories_id on memories (tenant, id);
create unique index memories_content
    on memories (tenant, coalesce(user_id, ''), coalesce(agent_id, ''), namespace, content_hash)
    where dedup = 1;
create unique index memories_key
    on memories (tenant, namespace, key, coalesce(user_id, ''), coalesce(agent_id, ''))
    where key is not null;
create unique index memories_request
    on memories (tenant, request_id, coalesce(user_id, ''), coalesce(agent_id, ''))
    where request_id is not null;
create index memories_upkeep on memories (expires_at) where expires_at is not null;

-- Requests whose first outcome was a memory that was there already; they go with it. '' stands for
-- no user, no agent.
create table memory_requests (
    tenant text not null,
    user_id text not null,
    agent_id text not null,
    request_id text not null,
    memory_id blob not null,
    primary key (tenant, request_id, user_id, agent_id),
    foreign key (tenant, memory_id) references memories (tenant, id) on delete cascade
) strict, without rowid;
create index memory_requests_memory on memory_requests (tenant, memory_id);

create table text_corpus (
    tenant text primary key,
    documents integer not null,
    words integer not null
) strict, without rowid;

create table text_terms (
    id integer primary key,
    tenant text not null,
    term text not null,
    documents integer not null,
    unique (tenant, term)
) strict;

create table text_postings (
    term_id integer not null,
    memory integer not null,
    words integer not null,
    occurrences blob not null,
    primary key (term_id, memory)
) strict, without rowid;

create table embedding_sets (
    id integer primary key,
    name text not null,
    dimension integer not null,
    hash text not null,
    semantic integer not null,
    state text not null,
    created_at integer not null
) strict;
create unique index embedding_sets_active on embedding_sets (state) where state = 'active';

-- How well a memory is kept; without a row it is new.
create table memory_scheduling (
    memory integer primary key references memories (memory) on delete cascade,
    tenant text not null,
    user_id text,
    stability real not null,
    difficulty real not null,
    last_review integer not null,
    next_review integer not null,
    reps integer not null,
    lapses integer not null
) strict;
create index memory_scheduling_due on memory_scheduling (tenant, next_review, memory);

-- Append-only, and outlives the memory: no foreign key.
create table memory_reviews (
    tenant text not null,
    id blob not null,
    user_id text,
    agent_id text,
    memory_id blob not null,
    at integer not null,
    rating integer not null,
    prior text,
    next text not null,
    primary key (tenant, id)
) strict, without rowid;
create index memory_reviews_memory on memory_reviews (tenant, memory_id, at, id);

-- Which memories one recall brought up, by a reader who asked for it to be noted.
create table memory_accesses (
    tenant text not null,
    id blob not null,
    user_id text,
    agent_id text,
    at integer not null,
    memories text not null,
    primary key (tenant, id)
) strict, without rowid;

create table memory_edges (
    tenant text not null,
    source blob not null,
    target blob not null,
    type text not null,
    user_id text,
    weight real not null,
    created_at integer not null,
    primary key (tenant, source, target, type),
    foreign key (tenant, source) references memories (tenant, id) on delete cascade,
    foreign key (tenant, target) references memories (tenant, id) on delete cascade
) strict, without rowid;
create index memory_edges_target on memory_edges (tenant, target);

-- '' in user_id: everybody's.
create table memory_domains (
    tenant text not null,
    user_id text not null,
    id text not null,
    label text not null,
    embedding_set integer,
    centroid blob,
    top_terms text not null,
    created_at integer not null,
    primary key (tenant, id, user_id)
) strict, without rowid;

create table event_streams (
    tenant text not null,
    stream text not null,
    version integer not null,
    recorded_at integer not null,
    first_kept integer not null,
    primary key (tenant, stream)
) strict, without rowid;

-- Commits come one after the other: the number is the order of all events of the file.
create table events (
    position integer primary key autoincrement,
    tenant text not null,
    stream text not null,
    version integer not null,
    id blob not null,
    kind text not null,
    correlation_id text,
    agent_id text,
    user_id text,
    session_id text,
    run_id text,
    occurred_at integer not null,
    recorded_at integer not null,
    data text not null
) strict;
create unique index events_stream on events (tenant, stream, version);
create unique index events_id on events (tenant, id);
create index events_position on events (tenant, position);
create index events_time on events (tenant, recorded_at, stream, version);
create index events_kind on events (tenant, kind, recorded_at);
create index events_correlation on events (tenant, correlation_id, recorded_at)
    where correlation_id is not null;
create index events_agent on events (tenant, agent_id, recorded_at) where agent_id is not null;
create index events_user on events (tenant, user_id, recorded_at) where user_id is not null;
create index events_months_upkeep on events (recorded_at);

-- Where each epoch begins: raised when the file was put back to an earlier state.
create table event_epochs (
    epoch integer primary key,
    after integer not null
) strict;
insert into event_epochs (epoch, after) values (1, 0);

create table event_consumers (
    tenant text not null,
    consumer text not null,
    part integer not null,
    user_id text,
    place text not null,
    failing blob,
    failures integer not null,
    updated_at integer not null,
    primary key (tenant, consumer, part)
) strict, without rowid;

create table event_members (
    tenant text not null,
    consumer text not null,
    member text not null,
    user_id text,
    expires_at integer not null,
    primary key (tenant, consumer, member)
) strict, without rowid;

create table upkeep_tasks (
    name text primary key,
    holder text,
    fence integer not null,
    expires_at integer,
    last_run integer,
    errors integer not null,
    last_error text
) strict, without rowid;

create table erasure_permits (
    id integer primary key,
    tenant text not null,
    user_id text,
    created_at integer not null,
    reason text not null
) strict;
create index erasure_permits_tenant on erasure_permits (tenant, user_id);
