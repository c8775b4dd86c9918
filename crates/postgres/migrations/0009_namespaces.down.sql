drop index mnemon.memories_namespace;
