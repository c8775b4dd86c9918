"""Rows a second and search latency of mem0's store on pgvector.

usage: mem0_store.py URL VECTORS DIMENSION; prints one JSON object.
"""

import json
import os
import sys
import time
import uuid

os.environ["MEM0_TELEMETRY"] = "False"
# A server without a locale answers SQL_ASCII, which psycopg gives out as bytes.
os.environ["PGCLIENTENCODING"] = "UTF8"

import numpy as np  # noqa: E402
from mem0.vector_stores.pgvector import PGVector  # noqa: E402

url, path, dimension = sys.argv[1], sys.argv[2], int(sys.argv[3])
vectors = np.fromfile(path, dtype="<f4").reshape(-1, dimension).tolist()
half = len(vectors) // 2
store = PGVector(
    dbname=None, collection_name="mem0_memories", embedding_model_dims=dimension, user=None,
    password=None, host=None, port=None, diskann=False, hnsw=True,
    connection_string=url.replace("postgres://", "postgresql://", 1),
)


def write(some):
    payloads = [{"data": "a memory", "user_id": "ada"} for _ in some]
    store.insert(vectors=some, payloads=payloads, ids=[str(uuid.uuid4()) for _ in some])


begun = time.perf_counter()
for vector in vectors[:half]:
    write([vector])
one = half / (time.perf_counter() - begun)
begun = time.perf_counter()
for at in range(half, len(vectors), 500):
    write(vectors[at : at + 500])
batch = (len(vectors) - half) / (time.perf_counter() - begun)
times = []
for vector in vectors[:300]:
    begun = time.perf_counter()
    store.search(query="", vectors=vector, top_k=10)
    times.append((time.perf_counter() - begun) * 1000)
times.sort()
print(json.dumps({"one": one, "batch": batch, "p50": times[150], "p99": times[297]}))
