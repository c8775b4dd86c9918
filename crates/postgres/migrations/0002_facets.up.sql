-- Locks, steps, and a slice of every other facet. '' in a receipt's key stands for a part that the
-- scope does not have.

-- ---------------------------------------------------------------- locks

create table mnemon.locks (
    tenant      text        not null,
    -- Listed in the order of bytes, whatever the database's language.
    key         text        collate "C" not null,
    fence       bigint      not null,
    holder      text,
    agent_id    text,
    user_id     text,
    acquired_at timestamptz not null,
    expires_at  timestamptz not null,
    primary key (tenant, key),
    -- Makes the fence part of a key: taking the lock over waits for those who hold the row FOR KEY
    -- SHARE, renewing it does not.
    constraint locks_fence unique (tenant, key, fence)
) with (fillfactor = 70);
comment on table  mnemon.locks is 'Leases. A row outlives its release, so that the fence keeps growing.';
comment on column mnemon.locks.tenant is 'Whose.';
comment on column mnemon.locks.key is 'What is held.';
comment on column mnemon.locks.fence is 'Larger for every new holder.';
comment on column mnemon.locks.holder is 'Who holds it; null: released.';
comment on column mnemon.locks.agent_id is 'The agent of the holder''s scope.';
comment on column mnemon.locks.user_id is 'The user of the holder''s scope.';
comment on column mnemon.locks.acquired_at is 'When this holder got it.';
comment on column mnemon.locks.expires_at is 'When the lease ends unless it is renewed.';

-- ---------------------------------------------------------------- steps

create table mnemon.receipts (
    tenant       text        not null,
    user_id      text        not null,
    agent_id     text        not null,
    step_id      text        not null,
    fingerprint  bytea       not null check (octet_length(fingerprint) = 32),
    outcomes     jsonb       not null,
    committed_at timestamptz not null,
    call_id      uuid        not null,
    primary key (tenant, user_id, agent_id, step_id)
) with (fillfactor = 70);
comment on table  mnemon.receipts is 'Proofs that steps happened: ids and versions, never payloads.';
comment on column mnemon.receipts.tenant is 'Whose.';
comment on column mnemon.receipts.user_id is 'The user of the scope; empty: none.';
comment on column mnemon.receipts.agent_id is 'The agent of the scope; empty: none.';
comment on column mnemon.receipts.step_id is 'The step, by its caller''s name.';
comment on column mnemon.receipts.fingerprint is 'blake3 of what the caller gave.';
comment on column mnemon.receipts.outcomes is 'What each write did, in the order given.';
comment on column mnemon.receipts.committed_at is 'When it happened.';
comment on column mnemon.receipts.call_id is 'The call that wrote it: one that is sent again after a lost answer knows its own.';
-- Kept in the order of arrival; a BRIN leaves the update that completes a receipt in its page.
create index receipts_upkeep on mnemon.receipts using brin (committed_at);

-- ---------------------------------------------------------------- turns

create table mnemon.turn_sessions (
    tenant          text        not null,
    user_id         text        not null,
    session_id      text        not null,
    run_key         text        not null,
    kind            text        not null,
    seq             bigint      not null,
    strategy        text        not null,
    budget_tokens   bigint,
    full_zone_turns bigint,
    retention       interval,
    covered_seq     bigint      not null default 0,
    health          text        not null default 'healthy',
    failures        bigint      not null default 0,
    paused          boolean     not null default false,
    last_error      text,
    holder          text,
    fence           bigint      not null default 0,
    lease_until     timestamptz,
    created_at      timestamptz not null,
    active_at       timestamptz not null,
    primary key (tenant, user_id, session_id, run_key, kind)
) with (fillfactor = 70);
comment on table  mnemon.turn_sessions is 'The head of every session''s memory; its writers queue on the row. No index on what changes per turn.';
comment on column mnemon.turn_sessions.tenant is 'Whose.';
comment on column mnemon.turn_sessions.user_id is 'The user.';
comment on column mnemon.turn_sessions.session_id is 'The session.';
comment on column mnemon.turn_sessions.run_key is 'The run, where every run has a memory of its own; empty otherwise.';
comment on column mnemon.turn_sessions.kind is 'Which memory of the session.';
comment on column mnemon.turn_sessions.seq is 'The newest turn; 0: none yet.';
comment on column mnemon.turn_sessions.strategy is 'none, truncation or rolling_summary: which turns a context holds.';
comment on column mnemon.turn_sessions.budget_tokens is 'Tokens of a context; null: not limited.';
comment on column mnemon.turn_sessions.full_zone_turns is 'Newest turns that are never summarised.';
comment on column mnemon.turn_sessions.retention is 'How long a turn appended now is kept; null: until it is deleted.';
comment on column mnemon.turn_sessions.covered_seq is 'The last turn that a summary covers; 0: none does.';
comment on column mnemon.turn_sessions.health is 'healthy, retry, degraded or recovering: how summarising is doing.';
comment on column mnemon.turn_sessions.failures is 'Failures of the summariser in a row.';
comment on column mnemon.turn_sessions.paused is 'Whether so much waits that the summariser is tried less often.';
comment on column mnemon.turn_sessions.last_error is 'The last failure, until a success.';
comment on column mnemon.turn_sessions.holder is 'The attempt that writes the next summary; null: none.';
comment on column mnemon.turn_sessions.fence is 'Larger for every new holder.';
comment on column mnemon.turn_sessions.lease_until is 'When that attempt''s right ends.';
comment on column mnemon.turn_sessions.created_at is 'When it was begun.';
comment on column mnemon.turn_sessions.active_at is 'When the last turn came.';

create table mnemon.turns (
    tenant             text        not null,
    user_id            text        not null,
    session_id         text        not null,
    run_key            text        not null,
    kind               text        not null,
    seq                bigint      not null,
    request_id         text,
    attempt_id         uuid,
    tokens             bigint      not null,
    at                 timestamptz not null,
    expires_at         timestamptz,
    agent_id           text,
    run_id             text,
    digest             jsonb,
    artifacts_shown    text[]      not null,
    artifacts_hidden   text[]      not null,
    metadata           jsonb       not null,
    user_message       text,
    assistant_response text,
    primary key (tenant, user_id, session_id, run_key, kind, seq)
);
comment on table  mnemon.turns is 'What was said: appended, never rewritten.';
comment on column mnemon.turns.tenant is 'Whose.';
comment on column mnemon.turns.user_id is 'The user.';
comment on column mnemon.turns.session_id is 'The session.';
comment on column mnemon.turns.run_key is 'The run, where every run has a memory of its own; empty otherwise.';
comment on column mnemon.turns.kind is 'Which memory of the session.';
comment on column mnemon.turns.seq is 'Its place, from 1, without gaps.';
comment on column mnemon.turns.request_id is 'The request that wrote it: the same one again finds it.';
comment on column mnemon.turns.attempt_id is 'The call that wrote it where no request is named: sent again, it finds it.';
comment on column mnemon.turns.tokens is 'Its tokens, given or estimated.';
comment on column mnemon.turns.at is 'When it was said.';
comment on column mnemon.turns.expires_at is 'When upkeep removes it; null: never.';
comment on column mnemon.turns.agent_id is 'The agent of the scope.';
comment on column mnemon.turns.run_id is 'The run of the scope.';
comment on column mnemon.turns.digest is 'What the assistant did meanwhile.';
comment on column mnemon.turns.artifacts_shown is 'Artifacts the user saw.';
comment on column mnemon.turns.artifacts_hidden is 'Artifacts kept from the user.';
comment on column mnemon.turns.metadata is 'The caller''s JSON object.';
comment on column mnemon.turns.user_message is 'What the user said.';
comment on column mnemon.turns.assistant_response is 'What the assistant answered.';
create unique index turns_request on mnemon.turns
    (tenant, user_id, session_id, run_key, kind, request_id) where request_id is not null;
create unique index turns_attempt on mnemon.turns (tenant, attempt_id) where attempt_id is not null;
create index turns_upkeep on mnemon.turns (expires_at) where expires_at is not null;

create table mnemon.turn_summaries (
    tenant     text        not null,
    user_id    text        not null,
    session_id text        not null,
    run_key    text        not null,
    kind       text        not null,
    seq_to     bigint      not null,
    seq_from   bigint      not null,
    extends    bigint,
    tokens     bigint      not null,
    holder     text,
    at         timestamptz not null,
    summary    text        not null,
    primary key (tenant, user_id, session_id, run_key, kind, seq_to)
);
comment on table  mnemon.turn_summaries is 'A chain per memory: each link covers the turns after the one it extends.';
comment on column mnemon.turn_summaries.tenant is 'Whose.';
comment on column mnemon.turn_summaries.user_id is 'The user.';
comment on column mnemon.turn_summaries.session_id is 'The session.';
comment on column mnemon.turn_summaries.run_key is 'The run, where every run has a memory of its own; empty otherwise.';
comment on column mnemon.turn_summaries.kind is 'Which memory of the session.';
comment on column mnemon.turn_summaries.seq_to is 'The last turn it covers.';
comment on column mnemon.turn_summaries.seq_from is 'The first turn it adds.';
comment on column mnemon.turn_summaries.extends is 'Where the link ends that it extends; null: it is the first.';
comment on column mnemon.turn_summaries.tokens is 'Its tokens.';
comment on column mnemon.turn_summaries.holder is 'The attempt that wrote it: the same one again finds it.';
comment on column mnemon.turn_summaries.at is 'When it was written.';
comment on column mnemon.turn_summaries.summary is 'The text.';

create table mnemon.turn_backlog (
    tenant     text        not null,
    user_id    text        not null,
    session_id text        not null,
    run_key    text        not null,
    kind       text        not null,
    due_at     timestamptz not null,
    primary key (tenant, user_id, session_id, run_key, kind)
);
comment on table  mnemon.turn_backlog is 'Memories with turns that wait for a summary.';
comment on column mnemon.turn_backlog.tenant is 'Whose.';
comment on column mnemon.turn_backlog.user_id is 'The user.';
comment on column mnemon.turn_backlog.session_id is 'The session.';
comment on column mnemon.turn_backlog.run_key is 'The run, where every run has a memory of its own; empty otherwise.';
comment on column mnemon.turn_backlog.kind is 'Which memory of the session.';
comment on column mnemon.turn_backlog.due_at is 'When the summariser is tried next.';
create index turn_backlog_upkeep on mnemon.turn_backlog (due_at);

-- ---------------------------------------------------------------- checkpoints

create table mnemon.threads (
    tenant     text        not null,
    -- Names are compared as bytes, as the library and the embedded store compare them.
    thread_id  text        collate "C" not null,
    namespace  text        collate "C" not null,
    user_id    text,
    agent_id   text,
    session_id text,
    head_id    text        collate "C" not null,
    version    bigint      not null,
    generation bigint      not null default 0,
    fence_key  text,
    fence      bigint,
    ttl        double precision,
    active_at  timestamptz not null,
    expires_at timestamptz,
    created_at timestamptz not null,
    primary key (tenant, thread_id, namespace)
) with (fillfactor = 70);
comment on table  mnemon.threads is 'The head of every thread; its writers queue on the row. No index on what changes per save.';
comment on column mnemon.threads.tenant is 'Whose.';
comment on column mnemon.threads.thread_id is 'The caller''s id.';
comment on column mnemon.threads.namespace is 'A part of the thread; empty: the thread itself.';
comment on column mnemon.threads.user_id is 'The owner; null: visible to every user of the tenant.';
comment on column mnemon.threads.agent_id is 'The agent that started it.';
comment on column mnemon.threads.session_id is 'The session it was started in.';
comment on column mnemon.threads.head_id is 'The newest checkpoint.';
comment on column mnemon.threads.version is 'The greatest version it gave out.';
comment on column mnemon.threads.generation is 'Grows whenever something of it is removed.';
comment on column mnemon.threads.fence_key is 'The lock whose guard its writers must carry; null: none.';
comment on column mnemon.threads.fence is 'The fence its head was written under.';
comment on column mnemon.threads.ttl is 'Seconds it is kept without activity; null: for good.';
comment on column mnemon.threads.active_at is 'The last activity; moves at most once a minute.';
comment on column mnemon.threads.expires_at is 'When it is removed; moves with active_at, and lies a minute beyond the ttl for that.';
comment on column mnemon.threads.created_at is 'When it was started.';
create index threads_active on mnemon.threads (tenant, active_at desc, thread_id, namespace);
create index threads_expired_upkeep on mnemon.threads (expires_at) where expires_at is not null;

create table mnemon.checkpoints (
    tenant     text        not null,
    thread_id  text        collate "C" not null,
    namespace  text        collate "C" not null,
    version    bigint      not null,
    id         text        collate "C" not null,
    parent_id  text        collate "C",
    superstep  bigint,
    user_id    text,
    agent_id   text,
    session_id text,
    run_id     text,
    created_at timestamptz not null,
    metadata   jsonb       not null,
    -- Hashes do not compress.
    manifest   jsonb       storage external not null,
    primary key (tenant, thread_id, namespace, version),
    constraint checkpoints_id unique (tenant, thread_id, namespace, id)
);
comment on table  mnemon.checkpoints is 'Versions of threads: each names the one it builds on.';
comment on column mnemon.checkpoints.tenant is 'Whose.';
comment on column mnemon.checkpoints.thread_id is 'The thread.';
comment on column mnemon.checkpoints.namespace is 'The part of the thread.';
comment on column mnemon.checkpoints.version is 'From 1, without gaps in its thread but for what was removed.';
comment on column mnemon.checkpoints.id is 'Its id; larger is newer.';
comment on column mnemon.checkpoints.parent_id is 'What it builds on; it may have been removed.';
comment on column mnemon.checkpoints.superstep is 'LangGraph''s super-step number.';
comment on column mnemon.checkpoints.user_id is 'The thread''s owner.';
comment on column mnemon.checkpoints.agent_id is 'The agent that put it.';
comment on column mnemon.checkpoints.session_id is 'The session it was put in.';
comment on column mnemon.checkpoints.run_id is 'The run that put it.';
comment on column mnemon.checkpoints.created_at is 'When.';
comment on column mnemon.checkpoints.metadata is 'The caller''s JSON object.';
comment on column mnemon.checkpoints.manifest is 'Channel to version and value: type tag, hash and size of a stored one, or readable JSON.';
create index checkpoints_run on mnemon.checkpoints (tenant, run_id) where run_id is not null;

create table mnemon.checkpoint_writes (
    tenant        text        not null,
    thread_id     text        collate "C" not null,
    namespace     text        collate "C" not null,
    checkpoint_id text        collate "C" not null,
    task_id       text        not null,
    idx           integer     not null,
    task_path     text        not null,
    channel       text        not null,
    type_tag      text        not null,
    hash          bytea       not null check (octet_length(hash) = 32),
    size          bigint      not null,
    user_id       text,
    run_id        text,
    written_at    timestamptz not null,
    primary key (tenant, thread_id, namespace, checkpoint_id, task_id, idx)
);
comment on table  mnemon.checkpoint_writes is 'Pending writes: what tasks did on top of a checkpoint.';
comment on column mnemon.checkpoint_writes.tenant is 'Whose.';
comment on column mnemon.checkpoint_writes.thread_id is 'The thread.';
comment on column mnemon.checkpoint_writes.namespace is 'The part of the thread.';
comment on column mnemon.checkpoint_writes.checkpoint_id is 'The checkpoint they build on.';
comment on column mnemon.checkpoint_writes.task_id is 'The task.';
comment on column mnemon.checkpoint_writes.idx is 'The place among the task''s writes; below zero: special, the last one stays.';
comment on column mnemon.checkpoint_writes.task_path is 'The task''s place among the tasks.';
comment on column mnemon.checkpoint_writes.channel is 'The channel it is for.';
comment on column mnemon.checkpoint_writes.type_tag is 'What the bytes are.';
comment on column mnemon.checkpoint_writes.hash is 'The key of its value among the thread''s chunks.';
comment on column mnemon.checkpoint_writes.size is 'How many bytes the value has.';
comment on column mnemon.checkpoint_writes.user_id is 'The thread''s owner.';
comment on column mnemon.checkpoint_writes.run_id is 'The run that wrote it.';
comment on column mnemon.checkpoint_writes.written_at is 'When.';

create table mnemon.checkpoint_chunks (
    tenant    text     not null,
    thread_id text     collate "C" not null,
    namespace text     collate "C" not null,
    hash      bytea    not null check (octet_length(hash) = 32),
    user_id   text,
    codec     smallint not null,
    -- Compressed already where that pays.
    bytes     bytea    storage external not null,
    primary key (tenant, thread_id, namespace, hash)
);
comment on table  mnemon.checkpoint_chunks is 'Values and parts of values by hash, once per thread.';
comment on column mnemon.checkpoint_chunks.tenant is 'Whose.';
comment on column mnemon.checkpoint_chunks.thread_id is 'The thread.';
comment on column mnemon.checkpoint_chunks.namespace is 'The part of the thread.';
comment on column mnemon.checkpoint_chunks.hash is 'blake3 of the content.';
comment on column mnemon.checkpoint_chunks.user_id is 'The thread''s owner.';
comment on column mnemon.checkpoint_chunks.codec is '0: the content as it is; 1: zstd; 2: the hashes of a value''s parts.';
comment on column mnemon.checkpoint_chunks.bytes is 'The content, encoded.';

-- ---------------------------------------------------------------- claims

create table mnemon.claim_agents (
    tenant      text        not null,
    agent_id    text        not null,
    last_time   timestamptz not null,
    ledger_seq  bigint      not null,
    ledger_hash bytea       not null,
    primary key (tenant, agent_id)
) with (fillfactor = 70);
comment on table  mnemon.claim_agents is 'The head of every agent''s ledger; its writers queue on the row.';
comment on column mnemon.claim_agents.tenant is 'Whose.';
comment on column mnemon.claim_agents.agent_id is 'The agent.';
comment on column mnemon.claim_agents.last_time is 'The last transaction time.';
comment on column mnemon.claim_agents.ledger_seq is 'The newest entry; 0: none yet.';
comment on column mnemon.claim_agents.ledger_hash is 'Its hash.';

create table mnemon.claims (
    tenant                text        not null,
    agent_id              text        not null,
    id                    uuid        not null,
    subject               text        not null,
    predicate             text        not null,
    -- json, not jsonb: two values are equal when their texts are, and jsonb rewrites numbers.
    value                 json        not null,
    cardinality           text        not null,
    provenance            text        not null,
    valid_start           timestamptz,
    valid_end             timestamptz,
    valid_time_confidence real        not null,
    start_granularity     text,
    end_granularity       text,
    value_confidence      real        not null,
    criticality           text        not null,
    derivation_depth      integer     not null,
    excludes              uuid[]      not null,
    user_id               text,
    session_id            text,
    run_id                text,
    recorded_at           timestamptz not null,
    primary key (tenant, agent_id, id)
);
comment on table  mnemon.claims is 'What agents believe: insert-only.';
comment on column mnemon.claims.tenant is 'Whose.';
comment on column mnemon.claims.agent_id is 'The agent that believes.';
comment on column mnemon.claims.id is 'UUIDv7.';
comment on column mnemon.claims.subject is 'Who or what.';
comment on column mnemon.claims.predicate is 'Which property.';
comment on column mnemon.claims.value is 'What it is.';
comment on column mnemon.claims.cardinality is 'How many values the line may have.';
comment on column mnemon.claims.provenance is 'Where it comes from.';
comment on column mnemon.claims.valid_start is 'True from, inclusive.';
comment on column mnemon.claims.valid_end is 'True until, exclusive.';
comment on column mnemon.claims.valid_time_confidence is 'How sure the source was of both, 0 to 1.';
comment on column mnemon.claims.start_granularity is 'How precisely the start was given.';
comment on column mnemon.claims.end_granularity is 'How precisely the end was given.';
comment on column mnemon.claims.value_confidence is 'How sure the source was of the value, 0 to 1.';
comment on column mnemon.claims.criticality is 'How much depends on it.';
comment on column mnemon.claims.derivation_depth is 'Derivations between it and the outside.';
comment on column mnemon.claims.excludes is 'Claims of its line that it cannot be true beside.';
comment on column mnemon.claims.user_id is 'The user of the scope; noted only.';
comment on column mnemon.claims.session_id is 'The session of the scope; noted only.';
comment on column mnemon.claims.run_id is 'The run of the scope; noted only.';
comment on column mnemon.claims.recorded_at is 'The transaction time: strictly increasing per agent.';
create index claims_line on mnemon.claims (tenant, agent_id, subject, predicate, recorded_at);

create table mnemon.claim_bounds (
    tenant      text        not null,
    agent_id    text        not null,
    claim_id    uuid        not null,
    recorded_at timestamptz not null,
    kind        text        not null,
    bound_at    timestamptz,
    user_id     text,
    primary key (tenant, agent_id, claim_id, recorded_at)
);
comment on table  mnemon.claim_bounds is 'Ends set later to a claim''s window, and their reopening: insert-only.';
comment on column mnemon.claim_bounds.tenant is 'Whose.';
comment on column mnemon.claim_bounds.agent_id is 'The agent.';
comment on column mnemon.claim_bounds.claim_id is 'The claim.';
comment on column mnemon.claim_bounds.recorded_at is 'When it was set.';
comment on column mnemon.claim_bounds.kind is 'Bound or Reopen.';
comment on column mnemon.claim_bounds.bound_at is 'The end.';
comment on column mnemon.claim_bounds.user_id is 'The user of the scope; noted only.';

create table mnemon.claim_edges (
    tenant      text        not null,
    agent_id    text        not null,
    claim_id    uuid        not null,
    kind        text        not null,
    target_id   uuid        not null,
    user_id     text,
    recorded_at timestamptz not null,
    primary key (tenant, agent_id, claim_id, kind, target_id)
);
comment on table  mnemon.claim_edges is 'How claims hang together: insert-only.';
comment on column mnemon.claim_edges.tenant is 'Whose.';
comment on column mnemon.claim_edges.agent_id is 'The agent.';
comment on column mnemon.claim_edges.claim_id is 'From this claim.';
comment on column mnemon.claim_edges.kind is 'DerivedFrom, Supersedes, DependsOn or MutualExclusion.';
comment on column mnemon.claim_edges.target_id is 'To this claim.';
comment on column mnemon.claim_edges.user_id is 'The user of the scope; noted only.';
comment on column mnemon.claim_edges.recorded_at is 'When.';
create index claim_edges_target on mnemon.claim_edges (tenant, agent_id, target_id, kind);

create table mnemon.claim_ledger (
    tenant         text        not null,
    agent_id       text        not null,
    seq            bigint      not null,
    kind           text        not null,
    claim_id       uuid        not null,
    disposition    text        not null,
    request_id     text,
    contested_with uuid[]      not null,
    user_id        text,
    recorded_at    timestamptz not null,
    digest         bytea       not null,
    hash           bytea       not null,
    primary key (tenant, agent_id, seq)
);
comment on table  mnemon.claim_ledger is 'What happened to claims: insert-only, gapless per agent, chained by hash.';
comment on column mnemon.claim_ledger.tenant is 'Whose.';
comment on column mnemon.claim_ledger.agent_id is 'The agent.';
comment on column mnemon.claim_ledger.seq is 'Its place, from 1.';
comment on column mnemon.claim_ledger.kind is 'What happened.';
comment on column mnemon.claim_ledger.claim_id is 'To which claim.';
comment on column mnemon.claim_ledger.disposition is 'How the claim stands since.';
comment on column mnemon.claim_ledger.request_id is 'The request that this entry answers.';
comment on column mnemon.claim_ledger.contested_with is 'The rest of its outcome: claims it contradicts.';
comment on column mnemon.claim_ledger.user_id is 'The user of the scope; noted only.';
comment on column mnemon.claim_ledger.recorded_at is 'When: the transaction time.';
comment on column mnemon.claim_ledger.digest is 'blake3 of salt and payload.';
comment on column mnemon.claim_ledger.hash is 'blake3 of the previous hash, this entry and the digest.';
create index claim_ledger_claim on mnemon.claim_ledger (tenant, agent_id, claim_id, seq);
create unique index claim_ledger_request on mnemon.claim_ledger (tenant, agent_id, request_id)
    where request_id is not null;

create table mnemon.claim_ledger_payloads (
    tenant   text   not null,
    agent_id text   not null,
    seq      bigint not null,
    user_id  text,
    salt     bytea  not null check (octet_length(salt) = 16),
    payload  text   not null,
    primary key (tenant, agent_id, seq)
);
comment on table  mnemon.claim_ledger_payloads is 'Payloads beside the chain: erasing one with its salt leaves every hash verifiable.';
comment on column mnemon.claim_ledger_payloads.tenant is 'Whose.';
comment on column mnemon.claim_ledger_payloads.agent_id is 'The agent.';
comment on column mnemon.claim_ledger_payloads.seq is 'The entry.';
comment on column mnemon.claim_ledger_payloads.user_id is 'The user of the scope.';
comment on column mnemon.claim_ledger_payloads.salt is 'Keeps the digest from being guessed.';
comment on column mnemon.claim_ledger_payloads.payload is 'JSON, byte for byte as it was digested.';

create table mnemon.claim_current (
    tenant                text        not null,
    agent_id              text        not null,
    subject               text        not null,
    predicate             text        not null,
    claim_id              uuid        not null,
    disposition           text        not null,
    valid_time_confidence real        not null,
    starts_at             timestamptz not null,
    ends_at               timestamptz not null,
    bound_at              timestamptz,
    re_entries            integer     not null,
    user_id               text,
    primary key (tenant, agent_id, subject, predicate, claim_id)
) with (fillfactor = 80);
comment on table  mnemon.claim_current is 'The claims that may count, by line: what a current read loads. Made from claims, bounds and ledger.';
comment on column mnemon.claim_current.tenant is 'Whose.';
comment on column mnemon.claim_current.agent_id is 'The agent.';
comment on column mnemon.claim_current.subject is 'Who or what.';
comment on column mnemon.claim_current.predicate is 'Which property.';
comment on column mnemon.claim_current.claim_id is 'The claim.';
comment on column mnemon.claim_current.disposition is 'Its latest disposition.';
comment on column mnemon.claim_current.valid_time_confidence is 'How sure the source was of its window.';
comment on column mnemon.claim_current.starts_at is 'True from; -infinity without a start.';
comment on column mnemon.claim_current.ends_at is 'True until, bounds included; infinity without an end or a start.';
comment on column mnemon.claim_current.bound_at is 'The earliest end set later and not reopened.';
comment on column mnemon.claim_current.re_entries is 'How often it came back from recall.';
comment on column mnemon.claim_current.user_id is 'The user of the scope; noted only.';
create index claim_current_ends on mnemon.claim_current (tenant, agent_id, subject, predicate, ends_at);
-- Windows that a reader may not trust hold whenever asked.
create index claim_current_unsure
    on mnemon.claim_current (tenant, agent_id, subject, predicate, valid_time_confidence)
    where valid_time_confidence < 1 and bound_at is null and starts_at > '-infinity';
create index claim_current_contested on mnemon.claim_current (tenant, agent_id, subject, predicate)
    where disposition in ('Contested', 'QueuedForAdjudication');

create table mnemon.claim_questions (
    tenant              text        not null,
    agent_id            text        not null,
    handle_id           uuid        not null,
    subject             text        not null,
    predicate           text        not null,
    challenger          uuid        not null,
    incumbents          uuid[]      not null,
    request             json        not null,
    status              text        not null,
    queued_at           timestamptz not null,
    expires_at          timestamptz,
    attempts            integer     not null,
    next_attempt_at     timestamptz not null,
    delivered_at        timestamptz,
    last_error          text,
    verdict             text,
    evidence_provenance text,
    because             text,
    resolved_at         timestamptz,
    user_id             text,
    primary key (tenant, agent_id, handle_id)
) with (fillfactor = 80);
comment on table  mnemon.claim_questions is 'Questions put to an oracle, written with the claim they are about.';
comment on column mnemon.claim_questions.tenant is 'Whose.';
comment on column mnemon.claim_questions.agent_id is 'The agent.';
comment on column mnemon.claim_questions.handle_id is 'What the answer names.';
comment on column mnemon.claim_questions.subject is 'Who or what.';
comment on column mnemon.claim_questions.predicate is 'Which property.';
comment on column mnemon.claim_questions.challenger is 'The claim to judge.';
comment on column mnemon.claim_questions.incumbents is 'What it contradicted when it was asked about.';
comment on column mnemon.claim_questions.request is 'What is asked.';
comment on column mnemon.claim_questions.status is 'queued, resolved or expired.';
comment on column mnemon.claim_questions.queued_at is 'When it was asked: the transaction time.';
comment on column mnemon.claim_questions.expires_at is 'Until when an answer counts.';
comment on column mnemon.claim_questions.attempts is 'How often it was put to the oracle.';
comment on column mnemon.claim_questions.next_attempt_at is 'Not to be put before.';
comment on column mnemon.claim_questions.delivered_at is 'When the oracle took it.';
comment on column mnemon.claim_questions.last_error is 'Why the last time failed.';
comment on column mnemon.claim_questions.verdict is 'Affirm, Deny or Unknown.';
comment on column mnemon.claim_questions.evidence_provenance is 'What the answer rests on.';
comment on column mnemon.claim_questions.because is 'Why, in the answerer''s words.';
comment on column mnemon.claim_questions.resolved_at is 'When it was closed.';
comment on column mnemon.claim_questions.user_id is 'The user of the scope; noted only.';
create index claim_questions_open on mnemon.claim_questions (tenant, agent_id, queued_at, handle_id)
    where status = 'queued';
create index claim_questions_challenger on mnemon.claim_questions (tenant, agent_id, challenger);
create index claim_questions_undelivered_upkeep on mnemon.claim_questions (next_attempt_at)
    where status = 'queued' and delivered_at is null;
create index claim_questions_expiry_upkeep on mnemon.claim_questions (expires_at)
    where status = 'queued' and expires_at is not null;

-- How a claim stood at a time: its latest deciding entry, the earliest end that was not reopened,
-- and how often it came back from recall. Inlined where it is used.
create function mnemon.claim_standing(whose text, agent text, claim uuid, known timestamptz)
    returns table (disposition text, bound_at timestamptz, re_entries bigint)
    language sql stable
    as $$
    select l.disposition,
           (select min(b.bound_at) from mnemon.claim_bounds b
            where b.tenant = whose and b.agent_id = agent and b.claim_id = claim
              and b.kind = 'Bound' and b.recorded_at <= known
              and b.recorded_at > coalesce((
                  select max(r.recorded_at) from mnemon.claim_bounds r
                  where r.tenant = whose and r.agent_id = agent and r.claim_id = claim
                    and r.kind = 'Reopen' and r.recorded_at <= known), '-infinity')),
           (select count(*) from mnemon.claim_ledger e
            where e.tenant = whose and e.agent_id = agent and e.claim_id = claim
              and e.kind in ('RecallReEntryDetected', 'Quarantined') and e.recorded_at <= known)
    from mnemon.claim_ledger l
    where l.tenant = whose and l.agent_id = agent and l.claim_id = claim
      and l.recorded_at <= known
      and l.kind not in ('RecallReEntryDetected', 'Quarantined', 'ServedAsInjected', 'Erased')
    order by l.seq desc
    limit 1
$$;
comment on function mnemon.claim_standing(text, text, uuid, timestamptz) is 'How a claim stood at a time, from ledger and bounds.';

-- ---------------------------------------------------------------- workflows

create table mnemon.workflow_runs (
    tenant             text        not null,
    id                 text        collate "C" not null,
    kind               text        not null,
    repo               text,
    status             text        not null,
    version            bigint      not null,
    definition_id      text,
    definition_version integer,
    execution          integer     not null,
    user_id            text,
    agent_id           text,
    session_id         text,
    run_id             text,
    started_at         timestamptz not null,
    updated_at         timestamptz not null,
    completed_at       timestamptz,
    error              text,
    counters           jsonb       not null,
    timings            jsonb       not null,
    metadata           jsonb       not null,
    state              jsonb       not null,
    primary key (tenant, id)
) with (fillfactor = 70);
comment on table  mnemon.workflow_runs is 'Workflow runs, saved by compare-and-set. No index on what changes per save.';
comment on column mnemon.workflow_runs.tenant is 'Whose.';
comment on column mnemon.workflow_runs.id is 'The caller''s id.';
comment on column mnemon.workflow_runs.kind is 'What kind of workflow.';
comment on column mnemon.workflow_runs.repo is 'The repository it works on.';
comment on column mnemon.workflow_runs.status is 'How it stands.';
comment on column mnemon.workflow_runs.version is 'From 1, by one at each save.';
comment on column mnemon.workflow_runs.definition_id is 'The definition it follows.';
comment on column mnemon.workflow_runs.definition_version is 'Which version of it.';
comment on column mnemon.workflow_runs.execution is 'Its newest execution; 0: none yet.';
comment on column mnemon.workflow_runs.user_id is 'The user of the scope that started it.';
comment on column mnemon.workflow_runs.agent_id is 'The agent of the scope that started it.';
comment on column mnemon.workflow_runs.session_id is 'The session it was started in.';
comment on column mnemon.workflow_runs.run_id is 'The run of the scope; noted only.';
comment on column mnemon.workflow_runs.started_at is 'When it was first saved.';
comment on column mnemon.workflow_runs.updated_at is 'When it was last saved.';
comment on column mnemon.workflow_runs.completed_at is 'When it completed, failed or was cancelled.';
comment on column mnemon.workflow_runs.error is 'Why it failed.';
comment on column mnemon.workflow_runs.counters is 'The caller''s counts, by name.';
comment on column mnemon.workflow_runs.timings is 'The caller''s durations in milliseconds, by name.';
comment on column mnemon.workflow_runs.metadata is 'The caller''s JSON object.';
comment on column mnemon.workflow_runs.state is 'Its state.';
create index workflow_runs_started on mnemon.workflow_runs (tenant, started_at, id);
create index workflow_runs_status on mnemon.workflow_runs (tenant, status, started_at, id);
create index workflow_runs_repo on mnemon.workflow_runs (tenant, repo, started_at, id)
    where repo is not null;

create table mnemon.workflow_executions (
    tenant             text        not null,
    run                text        collate "C" not null,
    execution          integer     not null,
    definition_id      text,
    definition_version integer,
    status             text        not null,
    user_id            text,
    agent_id           text,
    started_at         timestamptz not null,
    finished_at        timestamptz,
    primary key (tenant, run, execution)
) with (fillfactor = 90);
comment on table  mnemon.workflow_executions is 'Every try of a run: from when it began to run until it completed, failed or was cancelled.';
comment on column mnemon.workflow_executions.tenant is 'Whose.';
comment on column mnemon.workflow_executions.run is 'The run.';
comment on column mnemon.workflow_executions.execution is 'Which try, from 1.';
comment on column mnemon.workflow_executions.definition_id is 'The definition it followed.';
comment on column mnemon.workflow_executions.definition_version is 'Which version of it.';
comment on column mnemon.workflow_executions.status is 'running, or how it ended.';
comment on column mnemon.workflow_executions.user_id is 'The user of the scope that started the run.';
comment on column mnemon.workflow_executions.agent_id is 'The agent of the scope that started the run.';
comment on column mnemon.workflow_executions.started_at is 'When it began.';
comment on column mnemon.workflow_executions.finished_at is 'When it ended.';
create index workflow_executions_definition on mnemon.workflow_executions
    (tenant, definition_id, started_at, run, execution) where definition_id is not null;

create table mnemon.workflow_jobs (
    tenant     text        not null,
    job_id     text        collate "C" not null,
    run        text        collate "C" not null,
    user_id    text,
    agent_id   text,
    created_at timestamptz not null,
    primary key (tenant, job_id)
);
comment on table  mnemon.workflow_jobs is 'Which jobs belong to which run.';
comment on column mnemon.workflow_jobs.tenant is 'Whose.';
comment on column mnemon.workflow_jobs.job_id is 'The job, by its caller''s name.';
comment on column mnemon.workflow_jobs.run is 'The run it belongs to.';
comment on column mnemon.workflow_jobs.user_id is 'The user of the scope that started the run.';
comment on column mnemon.workflow_jobs.agent_id is 'The agent of the scope that started the run.';
comment on column mnemon.workflow_jobs.created_at is 'When it was linked.';
create index workflow_jobs_run on mnemon.workflow_jobs (tenant, run, job_id);

create table mnemon.workflow_definitions (
    tenant      text        not null,
    id          text        collate "C" not null,
    name        text        not null,
    version     integer     not null,
    description text,
    author      text,
    tags        text[]      not null,
    parameters  jsonb       not null,
    user_id     text,
    agent_id    text,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    primary key (tenant, id)
);
comment on table  mnemon.workflow_definitions is 'The head of every workflow definition.';
comment on column mnemon.workflow_definitions.tenant is 'Whose.';
comment on column mnemon.workflow_definitions.id is 'The caller''s id.';
comment on column mnemon.workflow_definitions.name is 'What people call it.';
comment on column mnemon.workflow_definitions.version is 'Its newest version.';
comment on column mnemon.workflow_definitions.description is 'What it is for.';
comment on column mnemon.workflow_definitions.author is 'Who wrote it.';
comment on column mnemon.workflow_definitions.tags is 'What it is found by.';
comment on column mnemon.workflow_definitions.parameters is 'What a run is given, by name.';
comment on column mnemon.workflow_definitions.user_id is 'The user of the scope that saved it first.';
comment on column mnemon.workflow_definitions.agent_id is 'The agent of the scope that saved it first.';
comment on column mnemon.workflow_definitions.created_at is 'When it was first saved.';
comment on column mnemon.workflow_definitions.updated_at is 'When it was last changed.';

create table mnemon.workflow_definition_versions (
    tenant     text        not null,
    id         text        collate "C" not null,
    version    integer     not null,
    label      text,
    format     text        not null,
    content    text        not null,
    user_id    text,
    agent_id   text,
    created_at timestamptz not null,
    primary key (tenant, id, version)
);
comment on table  mnemon.workflow_definition_versions is 'What a definition said, version by version; never rewritten.';
comment on column mnemon.workflow_definition_versions.tenant is 'Whose.';
comment on column mnemon.workflow_definition_versions.id is 'The definition.';
comment on column mnemon.workflow_definition_versions.version is 'From 1, without gaps.';
comment on column mnemon.workflow_definition_versions.label is 'What its author calls this version.';
comment on column mnemon.workflow_definition_versions.format is 'yaml or json.';
comment on column mnemon.workflow_definition_versions.content is 'The text, as it was given.';
comment on column mnemon.workflow_definition_versions.user_id is 'The user of the scope that saved it.';
comment on column mnemon.workflow_definition_versions.agent_id is 'The agent of the scope that saved it.';
comment on column mnemon.workflow_definition_versions.created_at is 'When.';

-- ---------------------------------------------------------------- dead letters

create table mnemon.dead_letters (
    tenant                 text        not null,
    queue                  text        collate "C" not null,
    item_id                text        collate "C" not null,
    attempts               integer     not null,
    reprocess_eligible     boolean     not null,
    manual_review_required boolean     not null,
    delivery               bigint      not null,
    taken                  boolean     not null,
    visible_at             timestamptz not null,
    buried_at              timestamptz not null,
    user_id                text,
    agent_id               text,
    session_id             text,
    run_id                 text,
    error_signature        text        not null,
    error                  text        not null,
    metadata               jsonb       not null,
    item                   jsonb       not null,
    primary key (tenant, queue, item_id)
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
comment on table  mnemon.dead_letters is 'What failed, until it is dealt with.';
comment on column mnemon.dead_letters.tenant is 'Whose.';
comment on column mnemon.dead_letters.queue is 'The queue.';
comment on column mnemon.dead_letters.item_id is 'What failed, unique in its queue.';
comment on column mnemon.dead_letters.attempts is 'Attempts noted so far.';
comment on column mnemon.dead_letters.reprocess_eligible is 'Whether it may be taken again.';
comment on column mnemon.dead_letters.manual_review_required is 'Whether a person must look first.';
comment on column mnemon.dead_letters.delivery is 'Grows with every take and every burial.';
comment on column mnemon.dead_letters.taken is 'Whether it was taken and not given back since.';
comment on column mnemon.dead_letters.visible_at is 'From when on it may be taken.';
comment on column mnemon.dead_letters.buried_at is 'When it was first buried.';
comment on column mnemon.dead_letters.user_id is 'The user of the scope that buried it first.';
comment on column mnemon.dead_letters.agent_id is 'The agent of the scope that buried it first.';
comment on column mnemon.dead_letters.session_id is 'The session of the scope; noted only.';
comment on column mnemon.dead_letters.run_id is 'The run of the scope; noted only.';
comment on column mnemon.dead_letters.error_signature is 'What failures of one cause share.';
comment on column mnemon.dead_letters.error is 'Why it failed last.';
comment on column mnemon.dead_letters.metadata is 'The caller''s JSON object.';
comment on column mnemon.dead_letters.item is 'The item itself.';
-- Only what may be taken, in the order in which it becomes visible: a take reads from the front
-- and stops before what others have in hand.
create index dead_letters_ready on mnemon.dead_letters (tenant, queue, visible_at, buried_at, item_id)
    where reprocess_eligible and not manual_review_required;

create table mnemon.dead_letter_attempts (
    tenant          text        not null,
    queue           text        collate "C" not null,
    item_id         text        collate "C" not null,
    attempt         integer     not null,
    at              timestamptz not null,
    user_id         text,
    agent_id        text,
    session_id      text,
    run_id          text,
    error_signature text        not null,
    error           text        not null,
    detail          jsonb       not null,
    primary key (tenant, queue, item_id, attempt)
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
comment on table  mnemon.dead_letter_attempts is 'Every failure of a dead letter.';
comment on column mnemon.dead_letter_attempts.tenant is 'Whose.';
comment on column mnemon.dead_letter_attempts.queue is 'The queue.';
comment on column mnemon.dead_letter_attempts.item_id is 'The item.';
comment on column mnemon.dead_letter_attempts.attempt is 'Which attempt, from 1.';
comment on column mnemon.dead_letter_attempts.at is 'When it failed.';
comment on column mnemon.dead_letter_attempts.user_id is 'The user of the scope.';
comment on column mnemon.dead_letter_attempts.agent_id is 'The agent of the scope.';
comment on column mnemon.dead_letter_attempts.session_id is 'The session of the scope; noted only.';
comment on column mnemon.dead_letter_attempts.run_id is 'The run of the scope; noted only.';
comment on column mnemon.dead_letter_attempts.error_signature is 'What failures of one cause share.';
comment on column mnemon.dead_letter_attempts.error is 'Why.';
comment on column mnemon.dead_letter_attempts.detail is 'What else was said of it: a JSON object.';

-- ---------------------------------------------------------------- insert-only

create function mnemon.refuse_change() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not exists (
        select from mnemon.erasure_permits where xmin = pg_current_xact_id_if_assigned()::xid
    ) then
        raise exception '% is insert-only', tg_table_name using errcode = 'insufficient_privilege',
            hint = 'only erasing a person or a tenant changes it, in a transaction that writes into mnemon.erasure_permits';
    end if;
    return null;
end
$$;
comment on function mnemon.refuse_change() is
    'Refuses a statement unless its own transaction (not a savepoint of it) wrote an erasure permit.';

create trigger insert_only before update or delete or truncate on mnemon.claims
    for each statement execute function mnemon.refuse_change();
create trigger insert_only before update or delete or truncate on mnemon.claim_bounds
    for each statement execute function mnemon.refuse_change();
create trigger insert_only before update or delete or truncate on mnemon.claim_edges
    for each statement execute function mnemon.refuse_change();
create trigger insert_only before update or delete or truncate on mnemon.claim_ledger
    for each statement execute function mnemon.refuse_change();
create trigger insert_only before update or delete or truncate on mnemon.claim_ledger_payloads
    for each statement execute function mnemon.refuse_change();

-- ---------------------------------------------------------------- row-level security and grants

revoke execute on function mnemon.refuse_change() from public;
select mnemon.share_grants(t), mnemon.guard(t) from mnemon.tenant_tables() as t;
