-- Locks, steps, and a slice of every other facet. '' in a receipt's key stands for a part that
-- the scope does not have.

-- The row outlives release, so that the fence keeps growing.
create table locks (
    tenant text not null,
    key text not null,
    fence integer not null,
    holder text,
    agent_id text,
    user_id text,
    acquired_at integer not null,
    expires_at integer not null,
    primary key (tenant, key)
) strict, without rowid;

create table receipts (
    tenant text not null,
    user_id text not null,
    agent_id text not null,
    step_id text not null,
    fingerprint blob not null,
    outcomes text not null,
    committed_at integer not null,
    primary key (tenant, user_id, agent_id, step_id)
) strict, without rowid;
create index receipts_upkeep on receipts (committed_at);

-- The head of a session's memory. run_key: the run where every run has a memory of its own, '' otherwise.
create table turn_sessions (
    tenant text not null,
    user_id text not null,
    session_id text not null,
    run_key text not null,
    kind text not null,
    seq integer not null,
    strategy text not null,
    budget_tokens integer,
    full_zone_turns integer,
    retention integer,
    -- Summaries: how far they reach, how they are doing, who writes the next one.
    covered_seq integer not null default 0,
    health text not null default 'healthy',
    failures integer not null default 0,
    paused integer not null default 0,
    last_error text,
    holder text,
    fence integer not null default 0,
    lease_until integer,
    created_at integer not null,
    active_at integer not null,
    primary key (tenant, user_id, session_id, run_key, kind)
) strict, without rowid;

create table turns (
    tenant text not null,
    user_id text not null,
    session_id text not null,
    run_key text not null,
    kind text not null,
    seq integer not null,
    request_id text,
    tokens integer not null,
    at integer not null,
    expires_at integer,
    agent_id text,
    run_id text,
    digest text,
    artifacts_shown text not null,
    artifacts_hidden text not null,
    metadata text not null,
    user_message text,
    assistant_response text,
    primary key (tenant, user_id, session_id, run_key, kind, seq)
) strict;
create unique index turns_request on turns (tenant, user_id, session_id, run_key, kind, request_id)
    where request_id is not null;
create index turns_upkeep on turns (expires_at) where expires_at is not null;

-- A chain: each link covers the turns after the one it extends.
create table turn_summaries (
    tenant text not null,
    user_id text not null,
    session_id text not null,
    run_key text not null,
    kind text not null,
    seq_to integer not null,
    seq_from integer not null,
    extends integer,
    tokens integer not null,
    -- The attempt that wrote it: the same one again finds it.
    holder text,
    at integer not null,
    summary text not null,
    primary key (tenant, user_id, session_id, run_key, kind, seq_to)
) strict;

-- Memories with turns that wait for a summary.
create table turn_backlog (
    tenant text not null,
    user_id text not null,
    session_id text not null,
    run_key text not null,
    kind text not null,
    due_at integer not null,
    primary key (tenant, user_id, session_id, run_key, kind)
) strict, without rowid;
create index turn_backlog_upkeep on turn_backlog (due_at);

-- The head of a thread; `generation` grows whenever something of it is removed.
create table threads (
    tenant text not null,
    thread_id text not null,
    namespace text not null,
    user_id text,
    agent_id text,
    session_id text,
    head_id text not null,
    version integer not null,
    generation integer not null,
    -- The lock whose guard its writers must carry, and the fence its head was written under.
    fence_key text,
    fence integer,
    -- Microseconds it is kept without activity.
    ttl integer,
    active_at integer not null,
    -- Moves with active_at, and lies a minute beyond the ttl for that.
    expires_at integer,
    created_at integer not null,
    primary key (tenant, thread_id, namespace)
) strict, without rowid;
create index threads_active on threads (tenant, active_at desc, thread_id, namespace);
create index threads_expired_upkeep on threads (expires_at) where expires_at is not null;

create table checkpoints (
    tenant text not null,
    thread_id text not null,
    namespace text not null,
    version integer not null,
    id text not null,
    parent_id text,
    superstep integer,
    user_id text,
    agent_id text,
    session_id text,
    run_id text,
    created_at integer not null,
    metadata text not null,
    -- Channel to version and value: core's Manifest.
    manifest text not null,
    primary key (tenant, thread_id, namespace, version)
) strict;
create unique index checkpoints_id on checkpoints (tenant, thread_id, namespace, id);
create index checkpoints_run on checkpoints (tenant, run_id) where run_id is not null;

-- Pending writes: what tasks did on top of a checkpoint. The value is among the chunks.
create table checkpoint_writes (
    tenant text not null,
    thread_id text not null,
    namespace text not null,
    checkpoint_id text not null,
    task_id text not null,
    idx integer not null,
    task_path text not null,
    channel text not null,
    type_tag text not null,
    hash blob not null,
    size integer not null,
    user_id text,
    run_id text,
    written_at integer not null,
    primary key (tenant, thread_id, namespace, checkpoint_id, task_id, idx)
) strict, without rowid;

create table checkpoint_chunks (
    tenant text not null,
    thread_id text not null,
    namespace text not null,
    hash blob not null,
    -- Of the thread: whose it is.
    user_id text,
    -- 0: the content as it is; 1: zstd; 2: the hashes of a value's parts.
    codec integer not null,
    bytes blob not null,
    primary key (tenant, thread_id, namespace, hash)
) strict;

-- An agent's head: the time and place of its last ledger entry.
create table claim_agents (
    tenant text not null,
    agent_id text not null,
    last_time integer not null,
    ledger_seq integer not null,
    ledger_hash blob not null,
    primary key (tenant, agent_id)
) strict, without rowid;

create table claims (
    tenant text not null,
    agent_id text not null,
    id blob not null,
    subject text not null,
    predicate text not null,
    value text not null,
    cardinality text not null,
    provenance text not null,
    valid_start integer,
    valid_end integer,
    valid_time_confidence real not null,
    start_granularity text,
    end_granularity text,
    value_confidence real not null,
    criticality text not null,
    derivation_depth integer not null,
    -- Claims of its line that it cannot be true beside.
    excludes text not null,
    user_id text,
    session_id text,
    run_id text,
    recorded_at integer not null,
    primary key (tenant, agent_id, id)
) strict;
create index claims_line on claims (tenant, agent_id, subject, predicate, recorded_at);

-- Ends set later to a claim's window, and their reopening.
create table claim_bounds (
    tenant text not null,
    agent_id text not null,
    claim_id blob not null,
    recorded_at integer not null,
    kind text not null,
    bound_at integer,
    user_id text,
    primary key (tenant, agent_id, claim_id, recorded_at)
) strict;

create table claim_edges (
    tenant text not null,
    agent_id text not null,
    claim_id blob not null,
    kind text not null,
    target_id blob not null,
    user_id text,
    recorded_at integer not null,
    primary key (tenant, agent_id, claim_id, kind, target_id)
) strict;
create index claim_edges_target on claim_edges (tenant, agent_id, target_id, kind);

create table claim_ledger (
    tenant text not null,
    agent_id text not null,
    seq integer not null,
    kind text not null,
    claim_id blob not null,
    disposition text not null,
    -- The request that this entry answers, and the rest of its outcome.
    request_id text,
    contested_with text not null,
    user_id text,
    recorded_at integer not null,
    digest blob not null,
    hash blob not null,
    primary key (tenant, agent_id, seq)
) strict;
create index claim_ledger_claim on claim_ledger (tenant, agent_id, claim_id, seq);
create unique index claim_ledger_request on claim_ledger (tenant, agent_id, request_id)
    where request_id is not null;

-- Beside the chain, so that erasing a payload with its salt leaves every hash verifiable.
create table claim_ledger_payloads (
    tenant text not null,
    agent_id text not null,
    seq integer not null,
    user_id text,
    salt blob not null,
    payload text not null,
    primary key (tenant, agent_id, seq)
) strict;

-- The claims that may count, by line: what a current read loads. Made from claims, bounds and
-- ledger. Without a start a window reaches from the least to the greatest integer.
create table claim_current (
    tenant text not null,
    agent_id text not null,
    subject text not null,
    predicate text not null,
    claim_id blob not null,
    disposition text not null,
    valid_time_confidence real not null,
    starts_at integer not null,
    ends_at integer not null,
    bound_at integer,
    re_entries integer not null,
    user_id text,
    primary key (tenant, agent_id, subject, predicate, claim_id)
) strict, without rowid;
create index claim_current_ends on claim_current (tenant, agent_id, subject, predicate, ends_at);
-- Windows that a reader may not trust hold whenever asked.
create index claim_current_unsure
    on claim_current (tenant, agent_id, subject, predicate, valid_time_confidence)
    where valid_time_confidence < 1 and bound_at is null and starts_at > -9223372036854775808;
create index claim_current_contested on claim_current (tenant, agent_id, subject, predicate)
    where disposition in ('Contested', 'QueuedForAdjudication');

-- Questions put to an oracle, written with the claim they are about.
create table claim_questions (
    tenant text not null,
    agent_id text not null,
    handle_id blob not null,
    subject text not null,
    predicate text not null,
    challenger blob not null,
    incumbents text not null,
    request text not null,
    -- queued, resolved or expired.
    status text not null,
    queued_at integer not null,
    expires_at integer,
    attempts integer not null,
    next_attempt_at integer not null,
    delivered_at integer,
    last_error text,
    verdict text,
    evidence_provenance text,
    because text,
    resolved_at integer,
    user_id text,
    primary key (tenant, agent_id, handle_id)
) strict;
create index claim_questions_open on claim_questions (tenant, agent_id, queued_at, handle_id)
    where status = 'queued';
create index claim_questions_challenger on claim_questions (tenant, agent_id, challenger, queued_at);
create index claim_questions_undelivered_upkeep on claim_questions (next_attempt_at)
    where status = 'queued' and delivered_at is null;
create index claim_questions_expiry_upkeep on claim_questions (expires_at)
    where status = 'queued' and expires_at is not null;

create table workflow_runs (
    tenant text not null,
    id text not null,
    kind text not null,
    repo text,
    status text not null,
    version integer not null,
    definition_id text,
    definition_version integer,
    -- Its newest execution; 0: none yet.
    execution integer not null,
    user_id text,
    agent_id text,
    session_id text,
    run_id text,
    started_at integer not null,
    updated_at integer not null,
    completed_at integer,
    error text,
    counters text not null,
    -- In milliseconds.
    timings text not null,
    metadata text not null,
    state text not null,
    primary key (tenant, id)
) strict;
create index workflow_runs_started on workflow_runs (tenant, started_at, id);
create index workflow_runs_status on workflow_runs (tenant, status, started_at, id);
create index workflow_runs_repo on workflow_runs (tenant, repo, started_at, id)
    where repo is not null;

create table workflow_executions (
    tenant text not null,
    run text not null,
    execution integer not null,
    definition_id text,
    definition_version integer,
    status text not null,
    user_id text,
    agent_id text,
    started_at integer not null,
    finished_at integer,
    primary key (tenant, run, execution)
) strict;
create index workflow_executions_definition on workflow_executions
    (tenant, definition_id, started_at, run, execution) where definition_id is not null;

create table workflow_jobs (
    tenant text not null,
    job_id text not null,
    run text not null,
    user_id text,
    agent_id text,
    created_at integer not null,
    primary key (tenant, job_id)
) strict;
create index workflow_jobs_run on workflow_jobs (tenant, run, job_id);

create table workflow_definitions (
    tenant text not null,
    id text not null,
    name text not null,
    -- Its newest version.
    version integer not null,
    description text,
    author text,
    -- A JSON list.
    tags text not null,
    parameters text not null,
    user_id text,
    agent_id text,
    created_at integer not null,
    updated_at integer not null,
    primary key (tenant, id)
) strict;

create table workflow_definition_versions (
    tenant text not null,
    id text not null,
    version integer not null,
    label text,
    format text not null,
    content text not null,
    user_id text,
    agent_id text,
    created_at integer not null,
    primary key (tenant, id, version)
) strict;

create table dead_letters (
    tenant text not null,
    queue text not null,
    item_id text not null,
    attempts integer not null,
    reprocess_eligible integer not null,
    manual_review_required integer not null,
    -- Which delivery; grows with every take and every burial.
    delivery integer not null,
    -- Whether it was taken and not given back since.
    taken integer not null,
    visible_at integer not null,
    buried_at integer not null,
    user_id text,
    agent_id text,
    session_id text,
    run_id text,
    error_signature text not null,
    error text not null,
    metadata text not null,
    item text not null,
    primary key (tenant, queue, item_id)
) strict;
-- Only what may be taken, in the order in which it becomes visible.
create index dead_letters_ready on dead_letters (tenant, queue, visible_at, buried_at, item_id)
    where reprocess_eligible = 1 and manual_review_required = 0;

create table dead_letter_attempts (
    tenant text not null,
    queue text not null,
    item_id text not null,
    attempt integer not null,
    at integer not null,
    user_id text,
    agent_id text,
    session_id text,
    run_id text,
    error_signature text not null,
    error text not null,
    detail text not null,
    primary key (tenant, queue, item_id, attempt)
) strict;

-- Insert-only, unless the transaction wrote a permit to erase; permits go before it commits.
create trigger claims_no_update before update on claims
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claims is insert-only');
end;
create trigger claims_no_delete before delete on claims
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claims is insert-only');
end;
create trigger claim_bounds_no_update before update on claim_bounds
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claim_bounds is insert-only');
end;
create trigger claim_bounds_no_delete before delete on claim_bounds
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claim_bounds is insert-only');
end;
create trigger claim_edges_no_update before update on claim_edges
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claim_edges is insert-only');
end;
create trigger claim_edges_no_delete before delete on claim_edges
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claim_edges is insert-only');
end;
create trigger claim_ledger_no_update before update on claim_ledger
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claim_ledger is insert-only');
end;
create trigger claim_ledger_no_delete before delete on claim_ledger
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claim_ledger is insert-only');
end;
create trigger claim_ledger_payloads_no_update before update on claim_ledger_payloads
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claim_ledger_payloads is insert-only');
end;
create trigger claim_ledger_payloads_no_delete before delete on claim_ledger_payloads
    when not exists (select 1 from erasure_permits where tenant = old.tenant)
begin
    select raise(abort, 'claim_ledger_payloads is insert-only');
end;
