"""Saves of langgraph-checkpoint-postgres, a command a line; answers seconds, one number a line.

usage: langgraph_checkpoints.py URL STATE_FILE, then on stdin:
  begin          a new thread and its first save, which is timed
  save HOW N     N saves that change one message each: append, replace or insert
  grow N         a new thread of N saves that append one message each, from nothing
"""

import json
import os
import sys
import time
import uuid
from datetime import datetime, timezone

# A server without a locale answers SQL_ASCII, which psycopg gives out as bytes.
os.environ["PGCLIENTENCODING"] = "UTF8"

from langgraph.checkpoint.base.id import uuid6  # noqa: E402
from langgraph.checkpoint.postgres import PostgresSaver  # noqa: E402

CHANNEL = "messages"


class Thread:
    """A thread whose one channel is a list of messages."""

    def __init__(self, saver, messages):
        self.saver, self.messages, self.version = saver, list(messages), 0
        self.config = {"configurable": {"thread_id": str(uuid.uuid4()), "checkpoint_ns": ""}}

    def save(self):
        self.version += 1
        version = f"{self.version:032}.0"
        checkpoint = {
            "v": 4,
            "id": str(uuid6(clock_seq=self.version)),
            "ts": datetime.now(timezone.utc).isoformat(),
            "channel_values": {CHANNEL: self.messages},
            "channel_versions": {CHANNEL: version},
            "versions_seen": {},
            "updated_channels": [CHANNEL],
        }
        metadata = {"source": "loop", "step": self.version}
        begun = time.perf_counter()
        self.config = self.saver.put(self.config, checkpoint, metadata, {CHANNEL: version})
        return time.perf_counter() - begun


def change(messages, how, message):
    if how == "append":
        messages.append(message)
    elif how == "replace":
        messages[len(messages) // 2] = message
    else:
        messages.insert(3, message)


def main():
    url, file = sys.argv[1], sys.argv[2]
    with open(file, encoding="utf-8") as text:
        given = json.load(text)
    base, changes = given["base"], given["changes"]
    with PostgresSaver.from_conn_string(url.replace("postgres://", "postgresql://", 1)) as saver:
        saver.setup()
        print(0.0, flush=True)
        thread, at = None, 0
        for line in sys.stdin:
            words = line.split()
            spent = 0.0
            if words[0] == "begin":
                thread = Thread(saver, base)
                spent = thread.save()
            elif words[0] == "save":
                for _ in range(int(words[2])):
                    change(thread.messages, words[1], changes[at % len(changes)])
                    at += 1
                    spent += thread.save()
            else:
                thread = Thread(saver, [])
                for _ in range(int(words[1])):
                    thread.messages.append(changes[at % len(changes)])
                    at += 1
                    spent += thread.save()
            print(spent, flush=True)


main()
