drop table text_language;
