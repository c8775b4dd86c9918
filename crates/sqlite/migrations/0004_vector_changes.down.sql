drop trigger memories_audience;
drop table vector_changes;
