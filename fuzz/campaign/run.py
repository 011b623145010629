#!/usr/bin/env python3
"""Tries to break evalkit: mutated files, kills, failing disks. Python's standard library and strace.

    cargo build --release
    fuzz/campaign/run.py                        # a few minutes
    fuzz/campaign/run.py --mutations 20000 --kills 20 --every-write

Every trial is drawn from --seed. Each row of the table is printed as soon as it is known. Ends with
exit code 1 if there was a fault; what caused it is kept in the folder that is printed.
"""

import argparse
import collections
import concurrent.futures
import pathlib
import random
import shutil
import sys
import tempfile
import time

import errors
import frames
import kills
import mutate
import program
import subjects


class Progress:
    """Counts trials on stderr."""

    def __init__(self):
        self.done, self.start, self.shown = 0, time.monotonic(), 0.0

    def __call__(self):
        self.done += 1
        now = time.monotonic()
        if now - self.shown > 5:
            self.shown = now
            print(f"\r{self.done} trials in {now - self.start:.0f} s", end="", file=sys.stderr, flush=True)


def shown(row):
    """Prints one row of the table as soon as it is known, and returns it."""
    name, tried, faults = row
    print(f"\r{name:44}  {tried:6} tried  {len(faults):4} faults")
    for index, why, said in faults[:8]:
        print(f"    {index}: {why}")
        for line in said.strip().splitlines()[-3:]:
            print(f"        {line}")
    sys.stdout.flush()
    return row


def laid(subject, work, data):
    """A copy of the subject's folder in which its file is `data`."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(subject.folder, work)
    (work / subject.file).write_bytes(data)


def trial(evalkit, root, seed, subject, index):
    """One mutation of one subject; its faults."""
    dice = random.Random(f"{seed}:{subject.name}:{index}")
    data = mutate.mutated(dice, (subject.folder / subject.file).read_bytes(), subject.form)
    work = root / f"work-{subject.name.replace(' ', '-').replace('/', '-')}-{index}"
    faults = []
    for command in subject.commands:
        laid(subject, work, data)
        outcome = program.run(evalkit, command, work)
        if outcome.fault():
            kept = root / "faults" / f"{subject.name.replace(' ', '-')}-{index}"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(data)
            said = outcome.stderr[-400:].decode(errors="replace")
            faults.append((index, f"{' '.join(command)}: {outcome.fault()}", said))
    shutil.rmtree(work, ignore_errors=True)
    return outcome.code, faults


def mutations(evalkit, root, seed, count, only, tell):
    """`count` mutations, shared among all subjects; those of subjects whose name holds `only`."""
    everything = subjects.all_subjects(evalkit, root / "subjects")
    each = max(1, count // len(everything))
    everything = [subject for subject in everything if only in subject.name]
    rows, codes = [], collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for subject in everything:
            faults = []
            jobs = [pool.submit(trial, evalkit, root, seed, subject, index) for index in range(each)]
            for job in jobs:
                code, found = job.result()
                codes[code] += 1
                faults += found
                tell()
            rows.append(shown((f"mutated: {subject.name}", each, faults)))
    print("exit codes:", dict(sorted(codes.items())))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/evalkit")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--only", default="", help="mutate only subjects whose name holds this")
    parser.add_argument("--kills", type=int, default=2, help="random kills per command")
    parser.add_argument("--calls", type=int, default=2, help="kills per command and system call")
    parser.add_argument("--writes", type=int, default=2, help="failing calls per command and system call")
    parser.add_argument("--every-write", action="store_true")
    options = parser.parse_args()
    evalkit = str(pathlib.Path(options.program).resolve())
    root = pathlib.Path(tempfile.mkdtemp(prefix="evalkit-campaign-"))
    tell = Progress()
    rows = mutations(evalkit, root / "mutations", options.seed, options.mutations, options.only, tell)
    rows += map(shown, frames.campaign(evalkit, root / "frames", options.seed, options.mutations // 10, tell))
    kill = (options.seed, options.kills, options.calls, tell)
    rows += map(shown, kills.campaign(evalkit, root / "kills", *kill))
    most = None if options.every_write else options.writes
    rows += map(shown, errors.campaign(evalkit, root / "errors", options.seed, most, tell))
    faults = sum(len(faults) for _, _, faults in rows)
    print(f"{sum(tried for _, tried, _ in rows)} tried, {faults} faults")
    if faults:
        print(f"kept: {root}")
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
