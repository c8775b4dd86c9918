drop table mnemon.text_language;
