-- The language that memories are cut into words in, and how far a change of it came.

create table text_language (
    one integer primary key check (one = 1),
    -- What is written is cut in it; null: nobody chose, so English.
    language text,
    -- While the language is changed: memories above the number below are still cut in this one.
    before text,
    -- The memory that was cut anew last.
    memory integer not null
) strict;
insert into text_language (one, memory) values (1, 0);
