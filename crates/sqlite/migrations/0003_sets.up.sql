-- Embedding sets that take each other's place: a set is active (searched), filling (to become the
-- active one) or retired (kept until it is dropped). One process fills a set at a time, under a
-- lease whose fence grows.
alter table embedding_sets add column holder text;
alter table embedding_sets add column fence integer not null default 0;
alter table embedding_sets add column lease_until integer;
-- Memories it lacked when somebody looked last.
alter table embedding_sets add column lacking integer not null default 0;
create unique index embedding_sets_filling on embedding_sets (state) where state = 'filling';
