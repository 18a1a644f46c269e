"""A cluster of real processes for tests in Python: three nodes and a router on loopback, killed by their own pids."""

import atexit
import json
import os
import random
import socket
import subprocess
import time
import urllib.error
import urllib.request

# Below the ports that the kernel gives to outgoing connections: one of those may take a node's port while the node is down.
PORTS = range(15_000, 30_000)
READY_SECONDS = 90


class Cluster:
    """Running processes. `stop` ends them all, and so does the end of the interpreter."""

    def __init__(self, folder, nodes=3, shards=4):
        self.folder, self.shards = folder, shards
        self.binary = os.environ["MERIDIAN_BIN"]
        self.ports = [[free_port() for _ in range(3)] for _ in range(nodes)]
        self.http, self.grpc = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.processes = {}
        atexit.register(self.stop)
        for node in range(nodes):
            self.start_node(node)
        self.begin()
        self.start("router", "router", "--nodes", self.addresses(), "--http", self.http, "--grpc", self.grpc,
                   "--request-timeout", "3s", "--auto-create-databases")
        self.wait_ready()

    def start_node(self, node):
        data, raft, http = (f"127.0.0.1:{port}" for port in self.ports[node])
        self.start(f"n{node + 1}", "node", "--data", os.path.join(self.folder, f"n{node + 1}"), "--region", f"r{node + 1}",
                   "--join", self.addresses(), "--listen-data", data, "--listen-raft", raft, "--listen-http", http)

    def addresses(self):
        return ",".join(f"127.0.0.1:{data}" for data, _, _ in self.ports)

    def begin(self):
        """Begins the cluster at its first node, as soon as that listens."""
        command = [self.binary, "cluster", "init", "--server", f"127.0.0.1:{self.ports[0][0]}",
                   "--nodes", str(len(self.ports)), "--shards", str(self.shards)]
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self.check_alive()
            done = subprocess.run(command, capture_output=True, text=True, timeout=READY_SECONDS)
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"the cluster does not begin: {done.stderr}")
            time.sleep(0.1)

    def start(self, name, *arguments):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MERIDIAN_")}
        with open(os.path.join(self.folder, f"{name}.log"), "ab") as log:
            self.processes[name] = subprocess.Popen([self.binary, *arguments], stdin=subprocess.DEVNULL, stdout=log,
                                                    stderr=log, env=environment)

    def kill_node(self, node):
        self.end(f"n{node + 1}")

    def end(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self):
        for name in list(self.processes):
            self.end(name)

    def check_alive(self):
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended by itself with {process.returncode}:\n{self.tail(name)}")

    def tail(self, name, lines=40):
        with open(os.path.join(self.folder, f"{name}.log"), encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        why = "it was not asked"
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                with urllib.request.urlopen(f"http://{self.http}/ready", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                why = error.read().decode()
            except OSError as error:
                why = str(error)
            time.sleep(0.1)
        raise AssertionError(f"the cluster is not ready after {READY_SECONDS} s: {why}\n{self.tail('router')}")

    def meridian(self, *arguments):
        """What the binary prints."""
        command = [self.binary, *arguments, "--server", self.grpc]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
        if done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def busiest(self):
        """The node that leads the most groups, counted from 0."""
        status = json.loads(self.meridian("cluster", "status", "--json"))
        # Ids are given in the order in which nodes join, which is not ours.
        ids = {node["address"]: node["id"] for node in status["nodes"]}
        leaders = [group["leader"] for group in status["groups"]]
        led = [leaders.count(ids.get(f"127.0.0.1:{data}")) for data, _, _ in self.ports]
        return led.index(max(led))


def free_port():
    for _ in range(1_000):
        port = random.choice(PORTS)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise AssertionError(f"no free port in {PORTS}")
