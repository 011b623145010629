#!/usr/bin/env python3
"""Starts the Swift runner as a process, both ways, and has it greet, refuse a wrong token, describe
itself and exit. Standard library only; the token is EVALKIT_RUNNER_TOKEN."""

import json
import os
import socket
import struct
import subprocess
import sys

runner, store = sys.argv[1:3]
token = os.environ["EVALKIT_RUNNER_TOKEN"]
common = ["--store", store, "--engine", "simulated"]


def write(stream, message):
    payload = b"\x01" + json.dumps(message).encode()
    stream.write(struct.pack("<I", len(payload)) + payload)
    stream.flush()


def read(stream):
    while True:
        (length,) = struct.unpack("<I", stream.read(4))
        message = json.loads(stream.read(length)[1:])
        if message["type"] != "alive":
            return message


def talk(stream):
    write(stream, {"type": "hello", "protocol": 1, "token": token, "client": "check"})
    assert read(stream)["type"] == "welcome"
    write(stream, {"type": "describe", "id": 1})
    found = read(stream)["result"]
    assert found["engine"] == "simulated" and found["simulated"] is True, found
    write(stream, {"type": "exit", "id": 2})
    assert read(stream) == {"type": "done", "id": 2, "result": {}, "replayed": False, "attempt": 1}


process = subprocess.Popen([runner, "--listen", "127.0.0.1:0", *common], stdout=subprocess.PIPE)
host, port = json.loads(process.stdout.readline())["listening"].split(":")
assert host == "127.0.0.1"
for attempt in ("wrong", "right"):
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        stream = connection.makefile("rwb")
        if attempt == "right":
            talk(stream)
            continue
        write(stream, {"type": "hello", "protocol": 1, "token": "f" * 32, "client": "check"})
        assert read(stream)["code"] == "token"
assert process.wait(10) == 0
assert process.stdout.read() == b""

process = subprocess.Popen([runner, "--stdio", *common], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class Pipes:
    write = staticmethod(process.stdin.write)
    flush = staticmethod(process.stdin.flush)
    read = staticmethod(process.stdout.read)


talk(Pipes)
assert process.wait(10) == 0

bad = [(["--listen", "0.0.0.0:1", *common], 2), (["--what"], 2), (["--stdio"], 2)]
if sys.platform == "linux":
    bad.append((["--stdio", "--store", store], 3))
for arguments, code in bad:
    done = subprocess.run([runner, *arguments], stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stdout) == (code, b"") and b"error:" in done.stderr, done
print("the runner listens, speaks on standard streams, and refuses what it should")
