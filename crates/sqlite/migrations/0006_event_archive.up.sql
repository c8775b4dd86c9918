-- Months that left the event log, and the words of what it keeps.

-- The log's name: archives carry it, and what comes back to the same log keeps its places.
create table event_log (
    one integer primary key check (one = 1),
    id blob not null
) strict;
insert into event_log (one, id) values (1, randomblob(16));

-- What retention removed from each tenant's log: cursors from before it are told so.
create table event_gone (
    tenant text not null,
    month text not null,
    removal integer not null,
    events integer not null,
    position integer not null,
    stream text not null,
    version integer not null,
    primary key (tenant, month, removal)
) strict, without rowid;

-- Months whose archive was accepted: what they hold up to this number goes, batch by batch.
create table event_leaving (
    month text primary key,
    upto integer not null
) strict;

-- The words of events, filled by upkeep where searching events is switched on.
create table event_terms (
    id integer primary key,
    tenant text not null,
    term text not null
) strict;
create unique index event_terms_term on event_terms (tenant, term);

create table event_postings (
    term_id integer not null references event_terms (id),
    recorded_at integer not null,
    event integer not null references events (position) on delete cascade,
    primary key (term_id, recorded_at, event)
) strict, without rowid;
create index event_postings_event_upkeep on event_postings (event);

-- Up to which number the log is in event_postings.
create table event_search_place (
    one integer primary key check (one = 1),
    position integer not null
) strict;
insert into event_search_place (one, position) values (1, 0);
