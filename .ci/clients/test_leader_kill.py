"""Python's influxdb-client, unchanged, writes while the node that leads most is killed and started again.

No point that the client was told is written may be missing or have another value, and none may be there twice. Starts
processes of its own; needs MERIDIAN_BIN (the binary).
"""

import json
import random
import sys
import tempfile
import threading
import time
import unittest

from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS

from cluster import Cluster

BUCKET = "kills"
# Seconds in which nodes are killed, and between two kills.
SECONDS, EVERY = 20, 4
# Nanoseconds since 1970 of the first point; each writer has its own second of data time between two points.
BASE = 1_760_000_000 * 10**9


class Writer:
    """Points of one writer: what it sent, and what it was told of them."""

    def __init__(self, number):
        self.measurement = f"w{number}"
        self.sent, self.told = {}, set()

    def next(self):
        serial = len(self.sent)
        at = BASE + serial * 10**9
        self.sent[at] = (serial, serial + 0.5, f"of \"{serial}\"")
        count, level, text = self.sent[at]
        return at, (Point(self.measurement).tag("host", f"h{serial % 7}").field("count", count).field("level", level)
                    .field("text", text).time(at, WritePrecision.NS))


class LeaderKill(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cluster = Cluster(folder.name)
        self.addCleanup(self.cluster.stop)
        self.client = InfluxDBClient(url=f"http://{self.cluster.http}", token="unused", org="unused", timeout=10_000)
        self.addCleanup(self.client.close)
        self.ended = threading.Event()

    def write_one_by_one(self, writer):
        with self.client.write_api(write_options=SYNCHRONOUS) as api:
            while not self.ended.is_set():
                at, point = writer.next()
                try:
                    api.write(bucket=BUCKET, record=point)
                    writer.told.add(at)
                except Exception as error:  # Whatever the client raises: it was not told that the point is written.
                    print(f"  {writer.measurement}: {type(error).__name__} at {at}", file=sys.stderr)

    def write_batches(self, writer):
        options = WriteOptions(batch_size=50, flush_interval=200, jitter_interval=0, max_retries=5, retry_interval=500)

        def told(_, data):
            text = data.decode() if isinstance(data, bytes) else data
            writer.told.update(int(line.rsplit(" ", 1)[1]) for line in text.splitlines())

        with self.client.write_api(write_options=options, success_callback=told) as api:
            while not self.ended.is_set():
                api.write(bucket=BUCKET, record=writer.next()[1])
                time.sleep(0.005)

    def assert_holds(self, writer):
        rows = {}
        for line in self.cluster.meridian("query", writer.measurement, "--db", BUCKET, "--format", "json").splitlines():
            row = json.loads(line)
            self.assertNotIn(row["time"], rows, f"{writer.measurement}: a point is there twice")
            rows[row["time"]] = (row["count"], row["level"], row["text"])
        expected = {stamp(at): values for at, values in writer.sent.items()}
        missing = {stamp(at) for at in writer.told} - rows.keys()
        self.assertEqual(missing, set(), f"{writer.measurement}: acknowledged points are missing")
        for at, values in rows.items():
            self.assertEqual(values, expected.get(at), f"{writer.measurement}: at {at}")
        return len(rows)

    def test_nothing_told_is_missing_or_doubled(self):
        writers = [Writer(number) for number in range(3)]
        run = [self.write_one_by_one, self.write_one_by_one, self.write_batches]
        threads = [threading.Thread(target=write, args=(writer,)) for write, writer in zip(run, writers)]
        for thread in threads:
            thread.start()
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                time.sleep(EVERY * random.uniform(0.5, 1))
                node = self.cluster.busiest()
                self.cluster.kill_node(node)
                time.sleep(random.uniform(0.1, 2))
                self.cluster.start_node(node)
                self.cluster.check_alive()
        finally:
            self.ended.set()
            for thread in threads:
                thread.join(120)
        self.assertFalse(any(thread.is_alive() for thread in threads), "a writer did not end")
        self.cluster.wait_ready()
        for writer in writers:
            self.assertGreater(len(writer.told), 50, f"{writer.measurement} was told of too few points to say anything")
            found = self.assert_holds(writer)
            print(f"  {writer.measurement}: {len(writer.sent)} sent, {len(writer.told)} told, {found} there", file=sys.stderr)


def stamp(nanos):
    """Whole seconds as `meridian query` prints them."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanos // 10**9))


if __name__ == "__main__":
    unittest.main()
