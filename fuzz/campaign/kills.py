"""Kills evalkit at random moments and at chosen system calls, starts it again, compares the end.

After any number of kills the next start that is left alone has to finish with the bytes that a
start has that was never disturbed, and leave nothing behind.
"""

import hashlib
import random
import shutil
import time

import program
import subjects

CALLS = ["write", "rename,renameat,renameat2", "fsync,fdatasync", "unlink,unlinkat", "mkdir,mkdirat", "openat"]
# What holds a clock, or is drawn from what does.
CLOCKED = ("sessions.jsonl", "coding.jsonl", "measurements.jsonl", "report.", "index.")


def contents(folder):
    """The hash of every file below `folder` that holds no clock. A runner's store is left out: it
    keeps what it was sent and did until its owner took it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not path.name.startswith(CLOCKED) and ".cache/" not in name:
            data = path.read_bytes()
            if "baselines" in path.parts or path.name == "plan.toml":
                data = b"present"
            found[name] = hashlib.sha256(data).hexdigest()[:16]
    return found


def commands():
    """name -> (commands that prepare, the command that is killed)."""
    score = ["-t", "text.txt", *subjects.SCORED]
    calibration = ["--calibrate", "calibration.txt", "--calibration-windows", "2"]
    sweep = ["sweep", *score, "--recipes", "int8,palette4-g16-s-cal", *calibration, "--package"]
    tuned = ["sweep", *score, "--recipes", "palette2-g16-s-cal-ft", *calibration]
    package = ["package", "--recipe", "palette4-g16-s", "-o", "p", "--force"]
    return {
        "sweep --package": ([], sweep),
        "sweep, tuned": ([], tuned),
        "perplexity": ([], ["perplexity", *score, "--recipes", "int8"]),
        "package --force": ([["package", "--recipe", "palette4-g16-s", "-o", "p"]], package),
        "quantize": ([], ["quantize", "--recipe", "palette2-g16-s", "-o", "coded.safetensors"]),
        "calibrate": ([], ["calibrate", *calibration, "--context", "64", "-o", "demo.moments"]),
        "baseline accept": ([["perplexity", *score, "--recipes", "int8"]], ["baseline", "accept", "RUN"]),
        "report --output": ([["perplexity", *score, "--recipes", "int8"]], ["report", "RUN", "-o", "out"]),
        "report --condense": ([["perplexity", *score, "--recipes", "int8"]], ["report", "RUN", "--condense", "small"]),
        "bench": ([["package", "--recipe", "palette4-g16-s", "-o", "p"]],
                  ["bench", "p", "--prompt-tokens", "4", "--generate", "4", "--repetitions", "6"]),
    }


def prepare(evalkit, root, steps):
    """A folder in which the command that is killed can start."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    subjects.text(root)
    for step in steps:
        subjects.must(evalkit, root, *step)


def resolved(folder, command):
    """The command with the run's folder in it."""
    run = next((path.parent.name for path in folder.glob("reports/*/records.jsonl")), "none")
    return [f"reports/{run}" if word == "RUN" else word for word in command]


def undisturbed(evalkit, root, steps, command):
    """The folder before the command, its seconds, and what is there after it."""
    start, end = root / "start", root / "work"
    # In one place always: a run's name is that of its question, and its files are part of that.
    prepare(evalkit, end, steps)
    shutil.rmtree(start, ignore_errors=True)
    shutil.copytree(end, start)
    before = time.monotonic()
    subjects.must(evalkit, end, *resolved(end, command))
    return start, time.monotonic() - before, contents(end)


def calls_of(evalkit, folder, command, call):
    """How often a thread of the command makes the call, at most."""
    log = folder.parent / "calls"
    wrapper = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={call}"]
    program.run(evalkit, command, folder, wrapper=wrapper, limit_seconds=300)
    by_thread = {}
    for line in log.read_text(errors="replace").splitlines():
        thread = line.split(" ", 1)[0]
        if "+++" not in line and "resumed>" not in line:
            by_thread[thread] = by_thread.get(thread, 0) + 1
    return max(by_thread.values(), default=0)


def difference(expected, found):
    """What is not the same, in words, or None."""
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    other = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    if missing or extra or other:
        return f"missing {missing[:4]}, left behind {extra[:4]}, other bytes {other[:4]}"
    return None


def one_kill(evalkit, start, work, command, expected, kill):
    """Kills once or several times, lets the command finish, compares; why it is a fault, or None."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work)
    words = resolved(work, command)
    for times in kill:
        outcome = program.run(evalkit, words, work, **times)
        if outcome.code not in (0, -9, 137) and outcome.fault():
            return f"while killed: {outcome.fault()}: {outcome.stderr[-300:].decode(errors='replace')}"
    outcome = program.run(evalkit, words, work, limit_seconds=120)
    if outcome.code != 0:
        return f"afterwards: exit code {outcome.code}: {outcome.stderr[-300:].decode(errors='replace')}"
    return difference(expected, contents(work))


def campaign(evalkit, root, seed, randoms, chosen, tell):
    """`randoms` kills at random and at most `chosen` at system calls, per command."""
    for name, (steps, command) in commands().items():
        place = root / name.replace(" ", "-")
        start, seconds, expected = undisturbed(evalkit, place, steps, command)
        faults, tried = [], 0
        for index in range(randoms):
            dice = random.Random(f"{seed}:{name}:{index}")
            kill = [{"kill_after_s": dice.random() * seconds} for _ in range(dice.choice([1, 1, 2, 4]))]
            why = one_kill(evalkit, start, place / "work", command, expected, kill)
            tried += len(kill)
            if why:
                faults.append((f"random {index}", why, ""))
            tell()
        if chosen == 0 or shutil.which("strace") is None:
            if chosen:
                print("skipped: kills at system calls: strace is not installed")
            yield f"killed: {name}", tried, faults
            continue
        for call in CALLS:
            fresh = place / "count"
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(start, fresh)
            most = calls_of(evalkit, fresh, resolved(fresh, command), call)
            dice = random.Random(f"{seed}:{name}:{call}")
            spots = range(1, most + 1)
            for when in sorted(dice.sample(spots, min(chosen, most))):
                inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                          "-e", f"inject={call}:signal=SIGKILL:when={when}"]
                why = one_kill(evalkit, start, place / "work", command, expected,
                               [{"wrapper": inject, "limit_seconds": 120}])
                tried += 1
                if why:
                    faults.append((f"{call} {when}", why, ""))
                tell()
        yield f"killed: {name}", tried, faults
