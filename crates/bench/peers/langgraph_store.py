"""Rows a second and search latency of langgraph's PostgresStore.

usage: langgraph_store.py URL VECTORS DIMENSION; prints one JSON object.
"""

import json
import os
import sys
import time

# A server without a locale answers SQL_ASCII, which psycopg gives out as bytes.
os.environ["PGCLIENTENCODING"] = "UTF8"

import numpy as np  # noqa: E402
from langgraph.store.base import PutOp  # noqa: E402
from langgraph.store.postgres import PostgresStore  # noqa: E402

url, path, dimension = sys.argv[1], sys.argv[2], int(sys.argv[3])
vectors = np.fromfile(path, dtype="<f4").reshape(-1, dimension).tolist()
half = len(vectors) // 2


def embed(texts):
    return [vectors[int(text)] for text in texts]


index = {"dims": dimension, "embed": embed, "fields": ["text"]}
with PostgresStore.from_conn_string(url.replace("postgres://", "postgresql://", 1), index=index) as store:
    store.setup()
    begun = time.perf_counter()
    for n in range(half):
        store.put(("ada",), str(n), {"text": str(n)})
    one = half / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for at in range(half, len(vectors), 500):
        store.batch([
            PutOp(("ada",), str(n), {"text": str(n)}) for n in range(at, min(at + 500, len(vectors)))
        ])
    batch = (len(vectors) - half) / (time.perf_counter() - begun)
    times = []
    for n in range(300):
        begun = time.perf_counter()
        store.search(("ada",), query=str(n), limit=10)
        times.append((time.perf_counter() - begun) * 1000)
times.sort()
print(json.dumps({"one": one, "batch": batch, "p50": times[150], "p99": times[297]}))
