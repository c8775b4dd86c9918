"""Steps a second of dbos on one thread: workflows of 100 steps, each of which keeps a payload.

usage: dbos_steps.py URL SECONDS PAYLOAD_BYTES; prints one JSON object.
"""

import json
import logging
import os
import sys
import time

# A server without a locale answers SQL_ASCII, which psycopg gives out as bytes.
os.environ["PGCLIENTENCODING"] = "UTF8"

from dbos import DBOS, DBOSConfig  # noqa: E402

STEPS = 100

url, seconds, size = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
config: DBOSConfig = {
    "name": "mnemon-bench",
    "system_database_url": url.replace("postgres://", "postgresql://", 1),
    "run_admin_server": False,
    "log_level": "ERROR",
}
DBOS(config=config)


@DBOS.step()
def keep(text: str) -> str:
    return text


@DBOS.workflow()
def work(text: str) -> int:
    for _ in range(STEPS):
        keep(text)
    return STEPS


logging.disable(logging.CRITICAL)
DBOS.launch()
payload = "x" * size
work(payload)  # Statements prepared, tables warm.
done, begun = 0, time.perf_counter()
while time.perf_counter() - begun < seconds:
    done += work(payload)
elapsed = time.perf_counter() - begun
DBOS.destroy()
print(json.dumps({"steps": done, "seconds": elapsed}))
