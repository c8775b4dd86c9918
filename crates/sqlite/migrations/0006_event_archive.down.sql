-- Takes away what 0007 made. What left the log stays in its archives.
drop table event_search_place;
drop table event_postings;
drop table event_terms;
drop table event_leaving;
drop table event_gone;
drop table event_log;
