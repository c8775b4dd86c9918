drop index memories_namespace;
