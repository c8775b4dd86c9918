-- Takes away what 0007 made. What left the log stays in its archives.
drop function mnemon.event_page(text, bigint, xid8, text, bigint, bigint, xid8, text[], text[], text[], timestamptz, timestamptz, integer);
drop function mnemon.event_matches(text, text, text[], text[], text, text[], text, timestamptz, timestamptz, timestamptz, text, bigint, integer);
drop table mnemon.event_search_places;
drop table mnemon.event_words;
drop table mnemon.event_gone;
drop table mnemon.event_log;
