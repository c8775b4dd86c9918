-- The active set stays; the tables of the others are dropped before this.
delete from embedding_sets where state <> 'active';
drop index embedding_sets_filling;
alter table embedding_sets drop column lacking;
alter table embedding_sets drop column lease_until;
alter table embedding_sets drop column fence;
alter table embedding_sets drop column holder;
