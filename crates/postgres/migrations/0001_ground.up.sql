-- The ground: clock, tenant setting, memories with their words and vectors, events, upkeep.
-- Everything is in schema `mnemon`. Tenants come first in every index
-- that serves a scoped call; an index of upkeep's ends in `_upkeep`.

create schema if not exists mnemon;

-- ---------------------------------------------------------------- clock and tenant

create function mnemon.now() returns timestamptz
    language sql volatile parallel safe
    as 'select clock_timestamp()';
comment on function mnemon.now() is
    'The clock of leases, transaction times and partitions. Tests replace it; nothing reads another clock.';

create function mnemon.current_tenant() returns text
    language plpgsql stable parallel safe
    as $$
declare
    found text := current_setting('mnemon.tenant', true);
begin
    if found is null or found = '' then
        raise exception 'row-level security is on and the setting mnemon.tenant is absent or empty'
            using errcode = 'insufficient_privilege',
                  hint = 'select set_config(''mnemon.tenant'', ''<tenant>'', true) in the transaction';
    end if;
    return found;
end
$$;
comment on function mnemon.current_tenant() is
    'The tenant that row-level security lets through: setting mnemon.tenant; raises without it.';

create table mnemon.meta (
    one            boolean     not null default true primary key check (one),
    schema_version integer     not null,
    min_binary     integer     not null,
    created_at     timestamptz not null default mnemon.now(),
    epoch          bigint      not null default 1,
    cluster        bigint      not null,
    high_tx        xid8        not null,
    rls            boolean     not null default false
);
comment on table  mnemon.meta is 'One row about this installation.';
comment on column mnemon.meta.one is 'Keeps the table at one row.';
comment on column mnemon.meta.schema_version is 'The newest migration applied.';
comment on column mnemon.meta.min_binary is 'The oldest binary that may use the schema, by the newest migration it knows.';
comment on column mnemon.meta.created_at is 'When the schema was made.';
comment on column mnemon.meta.epoch is 'Raised when transaction ids start over (restore into another cluster): orders events before them.';
comment on column mnemon.meta.cluster is 'The system identifier of the cluster that epoch belongs to.';
comment on column mnemon.meta.high_tx is 'A transaction id seen in this epoch: a smaller one later says that they started over.';
comment on column mnemon.meta.rls is 'Whether row-level security is on.';

-- ---------------------------------------------------------------- memories

create table mnemon.memories (
    tenant        text        not null,
    id            uuid        not null,
    user_id       text,
    agent_id      text,
    session_id    text,
    run_id        text,
    key           text,
    request_id    text,
    namespace     text        not null default '',
    visibility    text        not null,
    shared_with   text[]      not null default '{}',
    content       text        not null,
    node_type     text        not null default 'fact',
    tags          text[]      not null default '{}',
    metadata      jsonb       not null default '{}',
    codebase      text,
    source        text,
    domains       text[]      not null default '{}',
    domain_scores jsonb       not null default '{}',
    valid_from    timestamptz,
    valid_until   timestamptz,
    expires_at    timestamptz,
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    content_hash  bytea       not null,
    dedup         boolean     not null default true,
    words         integer     not null,
    terms         tsvector    not null,
    constraint memories_pkey primary key (tenant, id),
    constraint memories_visibility_check check (visibility in ('private', 'shared', 'tenant')),
    constraint memories_content_hash_check check (octet_length(content_hash) = 32)
);
comment on table  mnemon.memories is 'Free-text memories, found by their words and their vectors.';
comment on column mnemon.memories.tenant is 'Whose installation.';
comment on column mnemon.memories.id is 'UUIDv7: sorts by when it was written.';
comment on column mnemon.memories.user_id is 'The owner; null: visible to every user of the tenant.';
comment on column mnemon.memories.agent_id is 'The agent that wrote it.';
comment on column mnemon.memories.session_id is 'The session it was written in; noted only.';
comment on column mnemon.memories.run_id is 'The run it was written in; noted only.';
comment on column mnemon.memories.key is 'The caller''s name for it, unique per owner, agent and namespace.';
comment on column mnemon.memories.request_id is 'The request that wrote it: the same one again finds it.';
comment on column mnemon.memories.namespace is 'A path of parts joined by /; empty: none.';
comment on column mnemon.memories.visibility is 'private, shared (with the groups in shared_with) or tenant.';
comment on column mnemon.memories.shared_with is 'Groups that see a shared memory.';
comment on column mnemon.memories.content is 'The text.';
comment on column mnemon.memories.node_type is 'What kind of thing it is.';
comment on column mnemon.memories.tags is 'Labels, searched with the text.';
comment on column mnemon.memories.metadata is 'The caller''s JSON object.';
comment on column mnemon.memories.codebase is 'The code base it is about.';
comment on column mnemon.memories.source is 'Where it came from.';
comment on column mnemon.memories.domains is 'Domains it belongs to.';
comment on column mnemon.memories.domain_scores is 'A score per domain, 0 to 1, as a JSON object.';
comment on column mnemon.memories.valid_from is 'True from.';
comment on column mnemon.memories.valid_until is 'True until.';
comment on column mnemon.memories.expires_at is 'Invisible from this time on; upkeep removes it.';
comment on column mnemon.memories.created_at is 'When it was written, or came to be (imports).';
comment on column mnemon.memories.updated_at is 'When its content last changed.';
comment on column mnemon.memories.content_hash is 'blake3 of the content: equal content of one owner, agent and namespace is one memory.';
comment on column mnemon.memories.dedup is 'Whether equal content counts as this memory (false: written as a duplicate on purpose).';
comment on column mnemon.memories.words is 'Words of the content: its length for BM25.';
comment on column mnemon.memories.terms is 'Lexemes with positions, cut by mnemon, not by to_tsvector: A content, B node type, C tags; and @tenant without position.';

create unique index memories_dedup on mnemon.memories
    (tenant, content_hash, coalesce(user_id, ''), coalesce(agent_id, ''), namespace) where dedup;
create unique index memories_key on mnemon.memories
    (tenant, key, namespace, coalesce(user_id, ''), coalesce(agent_id, '')) where key is not null;
create unique index memories_request on mnemon.memories
    (tenant, request_id, coalesce(user_id, ''), coalesce(agent_id, '')) where request_id is not null;
create index memories_owner on mnemon.memories (tenant, user_id, id);
-- The tenant is a lexeme of its own. A short pending list keeps reads even while much is written.
create index memories_terms on mnemon.memories using gin (terms) with (gin_pending_list_limit = 512);
create index memories_expires_upkeep on mnemon.memories (expires_at) where expires_at is not null;

create table mnemon.memory_requests (
    tenant     text not null,
    user_id    text not null,
    agent_id   text not null,
    request_id text not null,
    memory_id  uuid not null,
    primary key (tenant, request_id, user_id, agent_id),
    foreign key (tenant, memory_id) references mnemon.memories (tenant, id) on delete cascade
);
comment on table  mnemon.memory_requests is 'Requests whose first outcome was a memory that was there already; they go with it.';
comment on column mnemon.memory_requests.tenant is 'Whose.';
comment on column mnemon.memory_requests.user_id is 'The user of the scope; empty: none.';
comment on column mnemon.memory_requests.agent_id is 'The agent of the scope; empty: none.';
comment on column mnemon.memory_requests.request_id is 'The request, by its caller''s name.';
comment on column mnemon.memory_requests.memory_id is 'What it found, and keeps answering.';
create index memory_requests_memory on mnemon.memory_requests (tenant, memory_id);

-- ---------------------------------------------------------------- counts of words

create table mnemon.text_corpus (
    tenant    text   not null primary key,
    documents bigint not null,
    words     bigint not null
);
comment on table  mnemon.text_corpus is 'Memories and words per tenant, as far as folded from text_deltas.';
comment on column mnemon.text_corpus.tenant is 'Whose.';
comment on column mnemon.text_corpus.documents is 'Memories.';
comment on column mnemon.text_corpus.words is 'Words of all of them together.';

create table mnemon.text_terms (
    tenant    text   not null,
    term      text   not null,
    documents bigint not null,
    primary key (tenant, term)
);
comment on table  mnemon.text_terms is 'Document frequencies per tenant, as far as folded from text_deltas.';
comment on column mnemon.text_terms.tenant is 'Whose.';
comment on column mnemon.text_terms.term is 'The lexeme.';
comment on column mnemon.text_terms.documents is 'Memories of the tenant that hold it.';

create table mnemon.text_deltas (
    id        bigint   generated always as identity primary key,
    tenant    text     not null,
    user_id   text,
    terms     text[]   not null,
    documents smallint not null check (documents in (-1, 1)),
    words     integer  not null
);
comment on table  mnemon.text_deltas is
    'What writes changed in the counts of words and upkeep has not folded yet: one row a write, so that writers never meet on a counter.';
comment on column mnemon.text_deltas.id is 'Order of arrival.';
comment on column mnemon.text_deltas.tenant is 'Whose.';
comment on column mnemon.text_deltas.user_id is 'The owner of the memory written or removed.';
comment on column mnemon.text_deltas.terms is 'Its distinct lexemes.';
comment on column mnemon.text_deltas.documents is '1: written; -1: removed.';
comment on column mnemon.text_deltas.words is 'Words added (negative: removed).';
create index text_deltas_tenant on mnemon.text_deltas (tenant);
alter table mnemon.text_deltas set (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

-- ---------------------------------------------------------------- embedding sets

create table mnemon.embedding_sets (
    id         integer     generated by default as identity primary key,
    name       text        not null,
    dimension  integer     not null check (dimension between 1 and 16000),
    hash       text        not null,
    semantic   boolean     not null,
    state      text        not null check (state in ('active')),
    created_at timestamptz not null default mnemon.now()
);
comment on table  mnemon.embedding_sets is 'Models whose vectors this database holds; the vectors stand in embeddings_<id>.';
comment on column mnemon.embedding_sets.id is 'The number in the table''s name.';
comment on column mnemon.embedding_sets.name is 'The model.';
comment on column mnemon.embedding_sets.dimension is 'Dimensions of its vectors.';
comment on column mnemon.embedding_sets.hash is 'Digest of what determines its vectors.';
comment on column mnemon.embedding_sets.semantic is 'Whether its vectors carry meaning.';
comment on column mnemon.embedding_sets.state is 'active: written and searched.';
comment on column mnemon.embedding_sets.created_at is 'When it was registered.';
create unique index embedding_sets_active on mnemon.embedding_sets (state) where state = 'active';

-- ---------------------------------------------------------------- decay

create table mnemon.memory_scheduling (
    tenant      text             not null,
    memory_id   uuid             not null,
    user_id     text,
    stability   double precision not null check (stability > 0),
    difficulty  double precision not null check (difficulty between 1 and 10),
    last_review timestamptz      not null,
    next_review timestamptz      not null,
    reps        integer          not null,
    lapses      integer          not null,
    primary key (tenant, memory_id),
    foreign key (tenant, memory_id) references mnemon.memories (tenant, id) on delete cascade
) with (fillfactor = 80);
comment on table  mnemon.memory_scheduling is 'How well a memory is kept; without a row it is new. Retrievability is computed, never stored.';
comment on column mnemon.memory_scheduling.tenant is 'Whose.';
comment on column mnemon.memory_scheduling.memory_id is 'The memory.';
comment on column mnemon.memory_scheduling.user_id is 'The memory''s owner.';
comment on column mnemon.memory_scheduling.stability is 'Days after which it is recalled with a probability of 0.9.';
comment on column mnemon.memory_scheduling.difficulty is 'How hard it is to strengthen, 1 to 10.';
comment on column mnemon.memory_scheduling.last_review is 'When it was reviewed last.';
comment on column mnemon.memory_scheduling.next_review is 'When it is due.';
comment on column mnemon.memory_scheduling.reps is 'Reviews so far.';
comment on column mnemon.memory_scheduling.lapses is 'Reviews at which it was forgotten.';
create index memory_scheduling_due on mnemon.memory_scheduling (tenant, next_review, memory_id);

create table mnemon.memory_reviews (
    tenant    text        not null,
    id        uuid        not null,
    user_id   text,
    agent_id  text,
    memory_id uuid        not null,
    at        timestamptz not null,
    rating    smallint    not null check (rating between 1 and 4),
    prior     jsonb,
    next      jsonb       not null,
    primary key (tenant, id)
);
comment on table  mnemon.memory_reviews is 'Reviews, append-only; without a foreign key, so that they outlive the memory.';
comment on column mnemon.memory_reviews.tenant is 'Whose.';
comment on column mnemon.memory_reviews.id is 'The event.';
comment on column mnemon.memory_reviews.user_id is 'The memory''s owner.';
comment on column mnemon.memory_reviews.agent_id is 'The agent that wrote the memory.';
comment on column mnemon.memory_reviews.memory_id is 'What was reviewed.';
comment on column mnemon.memory_reviews.at is 'When.';
comment on column mnemon.memory_reviews.rating is '1 again, 2 hard, 3 good, 4 easy.';
comment on column mnemon.memory_reviews.prior is 'The state before; null: it was new.';
comment on column mnemon.memory_reviews.next is 'The state after.';
create index memory_reviews_memory on mnemon.memory_reviews (tenant, memory_id, at, id);

create table mnemon.memory_accesses (
    tenant   text        not null,
    id       uuid        not null,
    user_id  text,
    agent_id text,
    at       timestamptz not null,
    memories uuid[]      not null,
    primary key (tenant, id)
);
comment on table  mnemon.memory_accesses is 'Which memories one recall brought up, noted when its caller asked for it: one row a recall.';
comment on column mnemon.memory_accesses.tenant is 'Whose.';
comment on column mnemon.memory_accesses.id is 'The event.';
comment on column mnemon.memory_accesses.user_id is 'The user who recalled.';
comment on column mnemon.memory_accesses.agent_id is 'The agent that recalled.';
comment on column mnemon.memory_accesses.at is 'When.';
comment on column mnemon.memory_accesses.memories is 'What was found, best first.';

create function mnemon.retrievability(
    stability double precision, last_review timestamptz, at timestamptz
) returns double precision
    language sql immutable parallel safe
    return power(
        1 + (power(0.9::float8, -1 / 0.1542::float8) - 1)
            * greatest(extract(epoch from at - last_review)::float8, 0) / 86400 / stability,
        -0.1542::float8);
comment on function mnemon.retrievability(double precision, timestamptz, timestamptz) is
    'The forgetting curve of FSRS-6: how likely a memory of a stability (days) is recalled at a time.';

create function mnemon.metadata_passes(metadata jsonb, tests jsonb) returns boolean
    language sql immutable parallel safe
    as $$
    select coalesce(bool_and(case x.op
        when 'eq' then coalesce(x.found = x.value, false)
        when 'ne' then coalesce(x.found <> x.value, true)
        when 'in' then exists (select from jsonb_array_elements(x.value) v where v = x.found)
        else case
            when jsonb_typeof(x.found) is distinct from jsonb_typeof(x.value) then false
            when jsonb_typeof(x.value) = 'number' then case x.op
                when 'gt' then x.found::numeric > x.value::numeric
                when 'gte' then x.found::numeric >= x.value::numeric
                when 'lt' then x.found::numeric < x.value::numeric
                else x.found::numeric <= x.value::numeric end
            when jsonb_typeof(x.value) = 'string' then case x.op
                when 'gt' then (x.found #>> '{}') collate "C" > (x.value #>> '{}') collate "C"
                when 'gte' then (x.found #>> '{}') collate "C" >= (x.value #>> '{}') collate "C"
                when 'lt' then (x.found #>> '{}') collate "C" < (x.value #>> '{}') collate "C"
                else (x.found #>> '{}') collate "C" <= (x.value #>> '{}') collate "C" end
            else false end
        end), true)
    from (select metadata -> (t ->> 'key') as found, t -> 'value' as value, t ->> 'op' as op
          from jsonb_array_elements(tests) t) x
$$;
comment on function mnemon.metadata_passes(jsonb, jsonb) is
    'Whether metadata passes every test of a list of {key, op, value}; values are compared by their types.';

-- ---------------------------------------------------------------- graph and domains

create table mnemon.memory_edges (
    tenant     text             not null,
    source     uuid             not null,
    target     uuid             not null,
    type       text             not null,
    user_id    text,
    weight     double precision not null check (weight > 0 and weight <= 1),
    created_at timestamptz      not null,
    primary key (tenant, source, target, type),
    check (source <> target),
    foreign key (tenant, source) references mnemon.memories (tenant, id) on delete cascade,
    foreign key (tenant, target) references mnemon.memories (tenant, id) on delete cascade
);
comment on table  mnemon.memory_edges is 'Connections between memories. An edge belongs to the memory it starts from.';
comment on column mnemon.memory_edges.tenant is 'Whose.';
comment on column mnemon.memory_edges.source is 'From.';
comment on column mnemon.memory_edges.target is 'To.';
comment on column mnemon.memory_edges.type is 'What kind.';
comment on column mnemon.memory_edges.user_id is 'The owner of the memory it starts from.';
comment on column mnemon.memory_edges.weight is 'How strong, above 0 up to 1.';
comment on column mnemon.memory_edges.created_at is 'When it was written.';
create index memory_edges_target on mnemon.memory_edges (tenant, target);

create table mnemon.memory_domains (
    tenant        text        not null,
    user_id       text        not null,
    id            text        not null,
    label         text        not null,
    embedding_set integer,
    centroid      real[],
    top_terms     text[]      not null,
    created_at    timestamptz not null,
    primary key (tenant, id, user_id)
);
comment on table  mnemon.memory_domains is 'Named regions of what is remembered; memories name them in their domains.';
comment on column mnemon.memory_domains.tenant is 'Whose.';
comment on column mnemon.memory_domains.user_id is 'The owner; empty: everybody''s.';
comment on column mnemon.memory_domains.id is 'What memories call it.';
comment on column mnemon.memory_domains.label is 'What people call it.';
comment on column mnemon.memory_domains.embedding_set is 'The set of the model that the centroid is of.';
comment on column mnemon.memory_domains.centroid is 'Its middle.';
comment on column mnemon.memory_domains.top_terms is 'Words that are typical of it.';
comment on column mnemon.memory_domains.created_at is 'When it was written first.';

-- ---------------------------------------------------------------- events

create table mnemon.events (
    tenant         text        not null,
    stream         text        not null,
    version        bigint      not null,
    id             uuid        not null,
    kind           text        not null,
    correlation_id text,
    agent_id       text,
    user_id        text,
    session_id     text,
    run_id         text,
    data           jsonb       not null default '{}',
    occurred_at    timestamptz not null,
    recorded_at    timestamptz not null,
    tx             xid8        not null,
    epoch          bigint      not null,
    primary key (tenant, stream, version, recorded_at)
) partition by range (recorded_at);
comment on table  mnemon.events is 'The append-only log, partitioned by month (UTC) of recorded_at.';
comment on column mnemon.events.tenant is 'Whose.';
comment on column mnemon.events.stream is 'The stream.';
comment on column mnemon.events.version is 'Place in the stream, from 1, without gaps.';
comment on column mnemon.events.id is 'The event''s id; the same id appended again is the first event.';
comment on column mnemon.events.kind is 'What happened: <facet>.<what>.';
comment on column mnemon.events.correlation_id is 'What it belongs to.';
comment on column mnemon.events.agent_id is 'The agent that acted.';
comment on column mnemon.events.user_id is 'The person it is about.';
comment on column mnemon.events.session_id is 'The session it happened in.';
comment on column mnemon.events.run_id is 'The run it happened in.';
comment on column mnemon.events.data is 'The details.';
comment on column mnemon.events.occurred_at is 'When it happened, by the caller.';
comment on column mnemon.events.recorded_at is 'When it was written, by mnemon.now(); never goes back within a stream.';
comment on column mnemon.events.tx is 'The transaction that wrote it: orders commits for gapless subscriptions.';
comment on column mnemon.events.epoch is 'meta.epoch when it was written.';
create index events_id on mnemon.events (tenant, id);
-- The order that readers of the whole log follow. By bytes, so that it is the same everywhere.
create index events_position on mnemon.events (tenant, epoch, tx, stream collate "C", version);
create index events_time on mnemon.events (tenant, recorded_at);
create index events_kind on mnemon.events (tenant, kind, recorded_at);
create index events_correlation on mnemon.events (tenant, correlation_id, recorded_at)
    where correlation_id is not null;
create index events_agent on mnemon.events (tenant, agent_id, recorded_at) where agent_id is not null;
create index events_user on mnemon.events (tenant, user_id, recorded_at) where user_id is not null;

create table mnemon.event_streams (
    tenant      text        not null,
    stream      text        not null,
    version     bigint      not null,
    recorded_at timestamptz not null,
    tx          xid8        not null,
    epoch       bigint      not null,
    first_kept  bigint      not null default 1,
    primary key (tenant, stream)
) with (fillfactor = 70);
comment on table  mnemon.event_streams is 'The head of every stream; writers of a stream queue on its row.';
comment on column mnemon.event_streams.tenant is 'Whose.';
comment on column mnemon.event_streams.stream is 'The stream.';
comment on column mnemon.event_streams.version is 'The newest event''s version; 0: none yet.';
comment on column mnemon.event_streams.recorded_at is 'The newest event''s time.';
comment on column mnemon.event_streams.tx is 'The newest event''s tx; the next one''s is no smaller.';
comment on column mnemon.event_streams.epoch is 'The epoch that tx belongs to.';
comment on column mnemon.event_streams.first_kept is 'The oldest version still kept.';

create table mnemon.event_consumers (
    tenant     text        not null,
    consumer   text        not null,
    part       integer     not null,
    user_id    text,
    place      text        not null default '',
    failing    uuid,
    failures   integer     not null default 0,
    updated_at timestamptz not null,
    primary key (tenant, consumer, part)
) with (fillfactor = 70);
comment on table  mnemon.event_consumers is 'How far a durable consumer came in each of its partitions.';
comment on column mnemon.event_consumers.tenant is 'Whose.';
comment on column mnemon.event_consumers.consumer is 'The group.';
comment on column mnemon.event_consumers.part is 'The partition: streams by the hash of their name.';
comment on column mnemon.event_consumers.user_id is 'The user of the scope that committed last.';
comment on column mnemon.event_consumers.place is 'The cursor behind what was handled; empty: nothing yet.';
comment on column mnemon.event_consumers.failing is 'The event that failed last and was not handled since.';
comment on column mnemon.event_consumers.failures is 'How often it failed.';
comment on column mnemon.event_consumers.updated_at is 'When this row last changed.';

create table mnemon.event_members (
    tenant     text        not null,
    consumer   text        not null,
    member     text        not null,
    user_id    text,
    expires_at timestamptz not null,
    primary key (tenant, consumer, member)
) with (fillfactor = 70);
comment on table  mnemon.event_members is 'Who shares the partitions of a durable consumer.';
comment on column mnemon.event_members.tenant is 'Whose.';
comment on column mnemon.event_members.consumer is 'The group.';
comment on column mnemon.event_members.member is 'The process.';
comment on column mnemon.event_members.user_id is 'The user of its scope.';
comment on column mnemon.event_members.expires_at is 'When it counts as gone unless it gives a sign of life.';

-- ---------------------------------------------------------------- upkeep and erasure

create table mnemon.upkeep_tasks (
    name       text        not null primary key,
    holder     text,
    fence      bigint      not null default 0,
    expires_at timestamptz,
    last_run   timestamptz,
    errors     integer     not null default 0,
    last_error text
) with (fillfactor = 70);
comment on table  mnemon.upkeep_tasks is 'Who runs which task of upkeep, and how it went.';
comment on column mnemon.upkeep_tasks.name is 'The task.';
comment on column mnemon.upkeep_tasks.holder is 'The process that runs it now; null: nobody.';
comment on column mnemon.upkeep_tasks.fence is 'Larger for every new holder; a batch under an older one is refused.';
comment on column mnemon.upkeep_tasks.expires_at is 'When the lease ends unless a batch renews it.';
comment on column mnemon.upkeep_tasks.last_run is 'When it last finished.';
comment on column mnemon.upkeep_tasks.errors is 'Runs that failed in a row.';
comment on column mnemon.upkeep_tasks.last_error is 'The last failure.';

create table mnemon.erasure_permits (
    id         uuid        not null,
    tenant     text        not null,
    user_id    text,
    created_at timestamptz not null default mnemon.now(),
    reason     text        not null,
    primary key (tenant, id)
);
comment on table  mnemon.erasure_permits is 'A row lets its own transaction pass the insert-only triggers.';
comment on column mnemon.erasure_permits.id is 'Its id.';
comment on column mnemon.erasure_permits.tenant is 'Whose rows are erased.';
comment on column mnemon.erasure_permits.user_id is 'The person erased; null: the tenant.';
comment on column mnemon.erasure_permits.created_at is 'When.';
comment on column mnemon.erasure_permits.reason is 'Why.';

-- ---------------------------------------------------------------- row-level security and grants

create function mnemon.guard(target regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not exists (select from pg_policy where polrelid = target and polname = 'tenant_isolation') then
        execute format('create policy tenant_isolation on %s '
            'using (tenant = (select mnemon.current_tenant())) '
            'with check (tenant = (select mnemon.current_tenant()))', target);
    end if;
    if (select rls from mnemon.meta) then
        execute format('alter table %s enable row level security', target);
    else
        execute format('alter table %s disable row level security', target);
    end if;
end
$$;
comment on function mnemon.guard(regclass) is
    'Gives a table, partition or embedding-set table its policy and the state of row-level security that meta says.';

create function mnemon.tenant_tables() returns setof regclass
    language sql stable
    set search_path = pg_catalog, pg_temp
    as $$
    select c.oid::regclass
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
    where c.relnamespace = 'mnemon'::regnamespace and c.relkind in ('r', 'p')
    order by c.relname
$$;
comment on function mnemon.tenant_tables() is 'Every table and partition that holds rows of tenants.';

create function mnemon.set_rls(enabled boolean) returns void
    language plpgsql
    as $$
begin
    update mnemon.meta set rls = enabled;
    perform mnemon.guard(t) from mnemon.tenant_tables() as t;
end
$$;
comment on function mnemon.set_rls(boolean) is 'Switches row-level security on or off for every table that holds rows of tenants.';

create function mnemon.share_grants(target regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    held record;
begin
    for held in
        select distinct g.grantee::regrole as role, g.privilege_type as privilege
        from pg_class c, aclexplode(c.relacl) g
        where c.oid = 'mnemon.memories'::regclass and g.grantee <> c.relowner and g.grantee <> 0
          and g.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    loop
        execute format('grant %s on %s to %s', held.privilege, target, held.role);
    end loop;
end
$$;
comment on function mnemon.share_grants(regclass) is 'Grants on a new table what roles hold on memories.';

create function mnemon.grant_to(role regrole) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    target regclass;
begin
    execute format('grant usage on schema mnemon to %s', role);
    execute format('grant select on all tables in schema mnemon to %s', role);
    for target in
        select t from mnemon.tenant_tables() as t union all select 'mnemon.upkeep_tasks'::regclass
    loop
        execute format('grant insert, update, delete on %s to %s', target, role);
    end loop;
    execute format('grant execute on all functions in schema mnemon to %s', role);
end
$$;
comment on function mnemon.grant_to(regrole) is
    'Grants a role what the library needs to read and write; nothing that changes the schema.';

-- ---------------------------------------------------------------- text search

create function mnemon.text_candidates(
    p_tenant       text,
    p_user         text,
    p_agent        text,
    p_groups       text[],
    p_query        text,
    p_lexemes      text[],
    p_namespace    text,
    p_tags         text[],
    p_node_types   text[],
    p_created_from timestamptz,
    p_created_to   timestamptz,
    p_domains      text[],
    p_metadata     jsonb,
    p_valid_from   timestamptz,
    p_valid_to     timestamptz,
    p_as_of        timestamptz,
    p_least        double precision,
    p_limit        integer
) returns table (id uuid, words integer, terms bytea)
    language plpgsql volatile security definer
    rows 1000
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
    with newest as materialized (
        select m.id, m.words, m.terms
        from mnemon.memories m
        where m.terms @@ query
          and m.tenant = whose
          and (m.expires_at is null or m.expires_at > (select mnemon.now()))
          and (p_agent is null or m.agent_id = p_agent)
          and (p_user is null or m.user_id is null or m.user_id = p_user or m.visibility = 'tenant'
               or (m.visibility = 'shared' and m.shared_with && p_groups))
          and (p_namespace is null or m.namespace = p_namespace
               or starts_with(m.namespace, p_namespace || '/'))
          and (p_tags is null or m.tags && p_tags)
          and (p_node_types is null or m.node_type = any (p_node_types))
          and (p_created_from is null or m.created_at >= p_created_from)
          and (p_created_to is null or m.created_at < p_created_to)
          and (p_domains is null or m.domains && p_domains)
          and (p_metadata is null or mnemon.metadata_passes(m.metadata, p_metadata))
          and (p_valid_from is null or m.valid_until is null or m.valid_until > p_valid_from)
          and (p_valid_to is null or m.valid_from is null or m.valid_from < p_valid_to)
          and (p_as_of is null or (m.created_at <= p_as_of
               and (m.valid_from is null or m.valid_from <= p_as_of)
               and (m.valid_until is null or m.valid_until > p_as_of)))
          and (p_least is null or coalesce(
               (select mnemon.retrievability(s.stability, s.last_review,
                       coalesce(p_as_of, (select mnemon.now())))
                from mnemon.memory_scheduling s
                where s.tenant = m.tenant and s.memory_id = m.id), 1) >= p_least)
        order by m.id desc
        limit p_limit
    )
    -- Sending a short tsvector whole costs 1 us, picking lexemes out of it 20; a long one must not travel.
    select n.id, n.words, tsvectorsend(
        case when length(n.terms) <= 128 then n.terms
        else ts_delete(n.terms, array(
            select t.lexeme from unnest(tsvector_to_array(n.terms)) as t (lexeme)
            where t.lexeme <> all (p_lexemes)))
        end)
    from newest n;
end
$$;
comment on function mnemon.text_candidates(text, text, text, text[], text, text[], text, text[], text[], timestamptz, timestamptz, text[], jsonb, timestamptz, timestamptz, timestamptz, double precision, integer) is
    'The newest memories that match a tsquery, visible to the caller, each with its words and (binary) its lexemes, at least those in p_lexemes. Runs as the owner, because @@ is not leakproof and would lose its index under row-level security; with that on it takes the tenant from the setting, never from the argument.';
revoke execute on all functions in schema mnemon from public;

-- ---------------------------------------------------------------- start

insert into mnemon.meta (schema_version, min_binary, cluster, high_tx)
select 1, 1, c.system_identifier, pg_current_xact_id() from pg_control_system() c;
select mnemon.guard(t) from mnemon.tenant_tables() as t;
