"""Frames of the runner protocol, mutated: to a runner on its standard input, to a client by TCP."""

import pathlib
import random
import socket
import threading

import mutate
import program

CORPUS = pathlib.Path(__file__).resolve().parents[1] / "corpus/frame"


def to_runner(evalkit, folder, data):
    """What a runner does with `data` on its standard input."""
    (folder / "frames").write_bytes(data)
    wrapper = ["sh", "-c", 'exec "$0" "$@" < frames']
    return program.run(evalkit, ["runner", "--stdio", "--store", "store"], folder, wrapper=wrapper)


def to_client(evalkit, folder, data):
    """What `devices` does with a runner that answers with `data`."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(program.LIMIT_SECONDS)

    def serve():
        try:
            while True:
                peer, _ = server.accept()
                with peer:
                    peer.settimeout(1)
                    peer.sendall(data)
                    peer.shutdown(socket.SHUT_WR)
                    try:
                        while peer.recv(65536):
                            pass
                    except OSError:
                        pass
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
    try:
        return program.run(
            "env", ["EVALKIT_RUNNER_TOKEN=0123456789abcdef0123456789abcdef", evalkit, "devices", "--device", address],
            folder,
        )
    finally:
        server.close()


def campaign(evalkit, root, seed, count, tell):
    """`count` mutated streams, half of them to either side; yields (name, tried, faults)."""
    seeds = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    for name, send in [("frames to a runner", to_runner), ("frames to a client", to_client)]:
        folder = root / name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        faults = []
        for index in range(count // 2):
            dice = random.Random(f"{seed}:{name}:{index}")
            data = mutate.raw(dice, dice.choice(seeds))
            outcome = send(evalkit, folder, data)
            if outcome.fault():
                faults.append((index, outcome.fault(), outcome.stderr[-300:].decode(errors="replace")))
                (folder / f"fault-{index}").write_bytes(data)
            tell()
        yield name, count // 2, faults
