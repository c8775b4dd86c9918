-- Namespaces by their beginning, for filters that let little through. Memories without one cost nothing.
create index memories_namespace on memories (tenant, namespace) where namespace <> '';
