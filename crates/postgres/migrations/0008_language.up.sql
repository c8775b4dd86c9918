-- The language that memories are cut into words in.

create table mnemon.text_language (
    one       boolean not null default true primary key check (one),
    language  text,
    before    text,
    at_tenant text    not null default '',
    at_memory uuid    not null default '00000000-0000-0000-0000-000000000000'
);
comment on table  mnemon.text_language is 'One row about the words of memories: their language, and how far a change of it came.';
comment on column mnemon.text_language.one is 'Keeps the table at one row.';
comment on column mnemon.text_language.language is 'What is written is cut in it; null: nobody chose, so English.';
comment on column mnemon.text_language.before is 'While the language is changed: memories behind the place below are still cut in this one.';
comment on column mnemon.text_language.at_tenant is 'The tenant of the memory that was cut anew last.';
comment on column mnemon.text_language.at_memory is 'That memory.';
insert into mnemon.text_language default values;
select mnemon.share_grants('mnemon.text_language');
