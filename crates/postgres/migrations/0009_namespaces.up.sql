-- Namespaces by their beginning, for filters that let little through. Memories without one cost nothing.
create index memories_namespace
    on mnemon.memories (tenant, namespace text_pattern_ops) where namespace <> '';
