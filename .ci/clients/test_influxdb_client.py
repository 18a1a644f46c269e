"""Python's influxdb-client, unchanged, writes and deletes; `meridian query` reads back.

Every point that the client was told is written must read back once, with its exact value and type. Needs MERIDIAN_URL (the
router's HTTP address), MERIDIAN_SERVER (its gRPC address) and MERIDIAN_BIN (the binary).
"""

import calendar
import datetime
import json
import math
import os
import re
import subprocess
import time
import unittest

from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS

BUCKET = "clients"
NANOS = {WritePrecision.S: 10**9, WritePrecision.MS: 10**6, WritePrecision.US: 10**3, WritePrecision.NS: 1}
# Own points lie one unit of their precision apart, from 2026-01-01 on.
BASE = calendar.timegm((2026, 1, 1, 0, 0, 0))


def nanos(text):
    """Nanoseconds of an RFC 3339 time in UTC; datetime would stop at microseconds."""
    match = re.fullmatch(r"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)(?:\.(\d{1,9}))?Z", text)
    if not match:
        raise AssertionError(f"not an RFC 3339 time in UTC: {text!r}")
    *whole, fraction = match.groups()
    return calendar.timegm(tuple(map(int, whole))) * 10**9 + int((fraction or "").ljust(9, "0"))


def query(measurement, *more):
    """Rows of a measurement, one dict each, as `meridian query` prints them."""
    command = [os.environ["MERIDIAN_BIN"], "query", measurement, "--db", BUCKET, "--format", "json", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def same(got, sent):
    """Equal in value and type; floats bit for bit, so that -0.0 is not 0.0. JSON does not tell 3.0 from 3."""
    if isinstance(sent, float):
        return isinstance(got, (int, float)) and not isinstance(got, bool) and (
            float(got) == sent and math.copysign(1, float(got)) == math.copysign(1, sent)
        )
    return type(got) is type(sent) and got == sent


class Sent:
    """One point as this test knows it, apart from the client's own encoding."""

    def __init__(self, measurement, tags, fields, at, precision=WritePrecision.NS):
        self.measurement, self.tags, self.fields = measurement, tags, fields
        self.at, self.precision = at, precision

    def point(self):
        point = Point(self.measurement).time(self.at, self.precision)
        for name, value in self.tags.items():
            point = point.tag(name, value)
        for name, value in self.fields.items():
            point = point.field(name, value)
        return point

    def line(self):
        return self.point().to_line_protocol()

    def row_key(self):
        return (self.at * NANOS[self.precision], *sorted(self.tags.items()))


def cpu_lines():
    with open("/proc/stat", encoding="ascii") as stat:
        return [line.split() for line in stat if line.startswith("cpu")]


def live_metrics():
    """What the machine says of itself at this moment: load, memory, each core, the disk."""
    now = time.time_ns()
    with open("/proc/loadavg", encoding="ascii") as file:
        one, five, fifteen, processes, _ = file.read().split()
    running, total = map(int, processes.split("/"))
    yield Sent("load", {"host": "this machine"}, {
        "load1": float(one), "load5": float(five), "load15": float(fifteen), "running": running, "total": total,
    }, now)
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = {key: int(rest.split()[0]) for key, rest in (line.split(":") for line in file)}
    yield Sent("memory", {"host": "this machine"}, {
        "total_kib": memory["MemTotal"], "available_kib": memory["MemAvailable"],
        "used_share": 1 - memory["MemAvailable"] / memory["MemTotal"], "is_low": memory["MemAvailable"] < 1 << 20,
    }, now)
    for name, user, nice, system, idle, *_ in cpu_lines():
        yield Sent("cpu", {"host": "this machine", "core": name}, {
            "user": int(user), "nice": int(nice), "system": int(system), "idle": int(idle),
        }, now)
    disk = os.statvfs("/")
    yield Sent("disk", {"host": "this machine", "mount": "path=/, type=any"}, {
        "free_bytes": disk.f_bavail * disk.f_frsize, "free_share": disk.f_bavail / max(disk.f_blocks, 1),
        "name_max": disk.f_namemax, "kind": "root, \"quoted\" \\ and = signs",
    }, now)


def own_points(measurement, count):
    """Every field type, edges of each, all precisions, and names that need escapes."""
    floats = [0.1, -0.0, 1e300, 5e-324, -1.7976931348623157e308, 3.0, math.pi, 1 / 3]
    ints = [0, -1, 2**63 - 1, -(2**63), 2**53 + 1, 42]
    texts = ["", "plain", "a \"quoted\" word", "back\\slash", "comma, space = equals", "Grüße, 世界", " edges "]
    for i in range(count):
        precision = [WritePrecision.S, WritePrecision.MS, WritePrecision.US, WritePrecision.NS][i % 4]
        tags = {"host name": f"h {i % 7}", "a,b": "x=y, z", "c=d": f"ünï {i % 3}"}
        fields = {
            "f loat": floats[i % len(floats)] if i % 16 < 8 else i * 0.37,
            "i,nt": ints[i % len(ints)] if i % 12 < 6 else i,
            "b=ool": i % 3 == 0,
            "string": texts[i % len(texts)],
            "serial": i,
        }
        if i % 5 == 0:
            del fields["string"]
        yield Sent(measurement, tags, fields, BASE * (10**9 // NANOS[precision]) + i, precision)


class InfluxdbClient(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.client = InfluxDBClient(url=os.environ["MERIDIAN_URL"], token="unused", org="unused", timeout=30_000)
        self.addCleanup(self.client.close)

    def assert_reads_back(self, sent):
        """Exactly the sent points of each measurement, no fewer and no more."""
        for measurement in sorted({point.measurement for point in sent}):
            expected = {point.row_key(): point for point in sent if point.measurement == measurement}
            self.assertEqual(len(expected), sum(point.measurement == measurement for point in sent), "the test's own keys")
            tags = {name for point in expected.values() for name in point.tags}
            got = {}
            for row in query(measurement):
                key = (nanos(row.pop("time")), *sorted((name, row.pop(name)) for name in tags if row.get(name)))
                self.assertNotIn(key, got, f"{measurement}: a row came twice")
                got[key] = {name: value for name, value in row.items() if value is not None}
            self.assertEqual(sorted(expected), sorted(got), f"{measurement}: other rows than were written")
            for key, point in expected.items():
                self.assertEqual(sorted(point.fields), sorted(got[key]), f"{measurement} {key}: other fields")
                for name, value in point.fields.items():
                    self.assertTrue(same(got[key][name], value), f"{measurement} {key} {name}: {got[key][name]!r} for {value!r}")

    def test_ping(self):
        self.assertTrue(self.client.ping())

    def test_live_metrics(self):
        sent = []
        with self.client.write_api(write_options=SYNCHRONOUS) as api:
            for _ in range(5):
                points = list(live_metrics())
                api.write(bucket=BUCKET, record=[point.point() for point in points])
                sent += points
                time.sleep(0.2)
        self.assert_reads_back(sent)

    def test_synchronous(self):
        sent = list(own_points("own, synchronous = one", 1_500))
        with self.client.write_api(write_options=SYNCHRONOUS) as api:
            for start in range(0, len(sent), 250):
                api.write(bucket=BUCKET, record=[point.point() for point in sent[start : start + 250]])
        self.assert_reads_back(sent)

    def test_batching(self):
        sent = list(own_points("own, batching = many", 1_500))
        told, failed = [], []
        options = WriteOptions(batch_size=200, flush_interval=200, jitter_interval=0, max_retries=3)
        with self.client.write_api(
            write_options=options,
            success_callback=lambda _, data: told.extend(as_lines(data)),
            error_callback=lambda _, data, error: failed.append((str(error), data)),
        ) as api:
            for point in sent:
                api.write(bucket=BUCKET, record=point.point(), write_precision=point.precision)
        self.assertEqual(failed, [], "the client was told of failures")
        self.assertEqual(sorted(told), sorted(point.line() for point in sent), "what the client was told is written")
        self.assert_reads_back(sent)

    def test_unsigned_and_newlines(self):
        """What Point has no words for: an unsigned integer, and a text of two lines."""
        with self.client.write_api(write_options=SYNCHRONOUS) as api:
            api.write(bucket=BUCKET, record=f'raw u={2**64 - 1}u,t="one\ntwo" {BASE}', write_precision=WritePrecision.S)
        self.assertEqual(query("raw"), [{"time": "2026-01-01T00:00:00Z", "t": "one\ntwo", "u": 2**64 - 1}])

    def test_delete(self):
        """The delete API takes what its predicate and its range say, both ends included, and nothing else."""
        with self.client.write_api(write_options=SYNCHRONOUS) as api:
            lines = [f'{m},host={h},zone=a\\ b v={i}i {BASE + i}' for m in ("gone", "kept") for h in "ab" for i in range(10)]
            api.write(bucket=BUCKET, record=lines, write_precision=WritePrecision.S)
        api = self.client.delete_api()
        at = lambda second: datetime.datetime.fromtimestamp(BASE + second, datetime.timezone.utc)
        api.delete(at(3), at(6), '_measurement="gone" AND host="a"', bucket=BUCKET)
        seconds = lambda rows: sorted((row["host"], row["v"]) for row in rows)
        left = [("a", v) for v in (0, 1, 2, 7, 8, 9)] + [("b", v) for v in range(10)]
        self.assertEqual(seconds(query("gone")), left)
        api.delete("2026-01-01T00:00:09Z", "2026-01-01T00:00:09Z", 'zone="a b"', bucket=BUCKET)
        left = [one for one in left if one[1] != 9]
        self.assertEqual(seconds(query("gone")), left, "one instant, of all measurements")
        self.assertEqual(seconds(query("kept")), [(h, v) for h in "ab" for v in range(9)])
        with self.client.write_api(write_options=SYNCHRONOUS) as writes:
            writes.write(bucket=BUCKET, record=f"gone,host=a v=4i {BASE + 4}", write_precision=WritePrecision.S)
        self.assertIn(("a", 4), seconds(query("gone")), "what is written afterwards stays")
        api.delete("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z", '_measurement="gone"', bucket=BUCKET)
        self.assertEqual(query("gone"), [])
        api.delete("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z", '_measurement="never was"', bucket=BUCKET)

    def test_a_delete_that_is_not_understood_deletes_nothing(self):
        with self.client.write_api(write_options=SYNCHRONOUS) as api:
            api.write(bucket=BUCKET, record=f"whole,host=a v=1i {BASE}", write_precision=WritePrecision.S)
        for predicate in ('_measurement="whole" AND host!="b"', '_measurement="whole" OR host="a"', '_field="v"', "host"):
            with self.assertRaises(Exception) as caught:
                self.client.delete_api().delete("1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z", predicate, bucket=BUCKET)
            self.assertEqual(caught.exception.status, 400, predicate)
            self.assertEqual(json.loads(caught.exception.body)["code"], "invalid", predicate)
        self.assertEqual([row["v"] for row in query("whole")], [1])

    def test_refused_lines_are_named_and_the_rest_is_stored(self):
        with self.client.write_api(write_options=SYNCHRONOUS) as api:
            with self.assertRaises(Exception) as caught:
                api.write(bucket=BUCKET, record=f"partly v=1i {BASE}\npartly v= {BASE}\npartly v=3i {BASE + 1}",
                          write_precision=WritePrecision.S)
        self.assertEqual(caught.exception.status, 400)
        body = json.loads(caught.exception.body)
        self.assertEqual([line["line"] for line in body["lines"]], [2], body)
        self.assertEqual([row["v"] for row in query("partly")], [1, 3])


def as_lines(data):
    return (data.decode() if isinstance(data, bytes) else data).splitlines()


if __name__ == "__main__":
    unittest.main()
