-- Embedding sets that take each other's place. One process fills a set at a time, under a lease
-- whose fence grows.
alter table mnemon.embedding_sets drop constraint embedding_sets_state_check;
alter table mnemon.embedding_sets
    add constraint embedding_sets_state_check check (state in ('active', 'filling', 'retired')),
    add column holder      text,
    add column fence       bigint      not null default 0,
    add column lease_until timestamptz,
    add column lacking     bigint      not null default 0;
comment on column mnemon.embedding_sets.state is
    'active: searched; filling: to become the active one; retired: kept until it is dropped.';
comment on column mnemon.embedding_sets.holder is 'The process that fills it; null: nobody.';
comment on column mnemon.embedding_sets.fence is 'Larger for every new holder; under an older one nothing is written.';
comment on column mnemon.embedding_sets.lease_until is 'When that process''s right ends unless it gives a sign of life.';
comment on column mnemon.embedding_sets.lacking is 'Memories it lacked when somebody looked last.';
create unique index embedding_sets_filling on mnemon.embedding_sets (state) where state = 'filling';
