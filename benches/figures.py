"""Prints what a measured sweep says about speed or memory, with the limits it is held against.

    figures.py speed SESSIONS RATIO                 SESSIONS: sessions.jsonl of a run
    figures.py memory SESSIONS PREDICTED MODEL      RATIO: what the bench `ratio` printed
                                                    PREDICTED: sweep --dry-run --format json
    figures.py report EVALKIT STORE OUT             every page of STORE into OUT, and on stdout

Exit code 1 where a limit is missed; with EVALKIT_TINY limits mean nothing and are not held. Needs
Python alone.
"""

import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time

MAX_TIME_RATIO = 1.2
"""Total time over that of four forward passes of the reference."""
MIN_FORWARD_RATIO = 0.75
"""Forward pass over candle's product of square matrices, in operations per second."""
MIN_CODING_WEIGHTS_PER_S = 25e6
MAX_SHARE_OF_FILE = 0.25
MAX_REPORT_S = 2.0
MAX_REPORT_BYTES = 300e6


def last_session(path):
    """The session that a run ended with, refused unless it is a whole one."""
    session = json.loads(pathlib.Path(path).read_text().splitlines()[-1])
    if session["outcome"] != "done" or session["resumed_windows"] > 0:
        sys.exit(f"{path}: not one uninterrupted run")
    return session


def machine():
    """Processor and cores."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        models = []
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def judged(holds, text):
    """Prints one figure; returns whether its limit holds."""
    if os.environ.get("EVALKIT_TINY"):
        print("  tiny    " + text)
        return True
    print(("  ok    " if holds else "  MISSED  ") + text)
    return holds


def speed(session, ratio):
    """Time of the sweep, of its phases, and the rates of its parts."""
    ms = {phase["phase"]: phase["elapsed_ms"] for phase in session["phases"]}
    total_ms, own_ms = session["elapsed_ms"], ms["reference forward"] + ms["reference head"]
    print(f"{machine()}; {session['threads']} threads")
    print(f"sweep: {total_ms / 1e3:.1f} s")
    for name, elapsed_ms in ms.items():
        print(f"  {name:18} {elapsed_ms / 1e3:6.2f} s  {elapsed_ms / total_ms:5.1%}")
    peak = session["peak"]
    print(f"peak: {megabytes(peak['rss_anon_bytes'])} RssAnon, "
          f"{megabytes(peak['rss_file_bytes'])} RssFile")
    time_ratio = total_ms / (4 * own_ms)
    forward, matmul = ratio["forward_flop_per_s"], ratio["matmul_flop_per_s"]
    coding = ratio["coding_weights_per_s"]
    return all([
        judged(time_ratio <= MAX_TIME_RATIO,
               f"total / (4 x reference's own {own_ms / 1e3:.2f} s): {time_ratio:.3f}, "
               f"at most {MAX_TIME_RATIO}"),
        judged(forward >= MIN_FORWARD_RATIO * matmul,
               f"forward {forward / 1e9:.0f} of candle's {matmul / 1e9:.0f} GFLOP/s: "
               f"{forward / matmul:.1%}, at least {MIN_FORWARD_RATIO:.0%}"),
        judged(coding >= MIN_CODING_WEIGHTS_PER_S,
               f"coding {ratio['coding_recipe']}: {coding / 1e6:.1f} million weights/s on one core, "
               f"at least {MIN_CODING_WEIGHTS_PER_S / 1e6:.0f}"),
    ])


def memory(session, predicted, model_bytes):
    """Peak memory, against its prediction and the checkpoint's size."""
    [table] = [table for table in predicted["tables"] if table["title"].startswith("Peak memory")]
    for row in table["rows"]:
        print(f"  {row['purpose']:32} {megabytes(row['size_bytes']):>10}")
    sum_bytes = table["rows"][-1]["size_bytes"]
    anon_bytes = session["peak"]["rss_anon_bytes"]
    print(f"file: {megabytes(model_bytes)}")
    print(f"peak: {megabytes(anon_bytes)} RssAnon, "
          f"{megabytes(session['peak']['rss_file_bytes'])} RssFile (mapped; can be dropped)")
    return all([
        judged(anon_bytes <= sum_bytes, f"RssAnon / predicted sum: {anon_bytes / sum_bytes:.1%}"),
        judged(anon_bytes <= MAX_SHARE_OF_FILE * model_bytes,
               f"RssAnon / file: {anon_bytes / model_bytes:.1%}, at most {MAX_SHARE_OF_FILE:.0%}"),
    ])


def megabytes(size_bytes):
    """A size for people."""
    return f"{size_bytes / 1e6:.0f} MB"


def report(evalkit, store, out):
    """Time and peak memory of a report, one format and all of them."""
    lines = sum(1 for _ in open(pathlib.Path(store) / "records.jsonl", "rb"))
    size_bytes = (pathlib.Path(store) / "records.jsonl").stat().st_size
    print(f"{machine()}; {lines} records, {megabytes(size_bytes)}")
    holds = []
    for more in (["--format", "terminal"], ["--output", out]):
        started = time.monotonic()
        subprocess.run([evalkit, "--quiet", "report", store, *more], check=True,
                       stdout=subprocess.DEVNULL)
        elapsed_s = time.monotonic() - started
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Of the hungriest child so far: the limit is for each.
        peak_bytes = spent.ru_maxrss * 1024
        name = " ".join(more[:1])
        holds += [
            judged(elapsed_s <= MAX_REPORT_S, f"{name}: {elapsed_s:.2f} s, at most {MAX_REPORT_S}"),
            judged(peak_bytes <= MAX_REPORT_BYTES,
                   f"{name}: {megabytes(peak_bytes)}, at most {megabytes(MAX_REPORT_BYTES)}"),
        ]
    return all(holds)


def main():
    """Dispatches."""
    if sys.argv[1] == "report":
        sys.exit(0 if report(*sys.argv[2:5]) else 1)
    what, sessions, other = sys.argv[1:4]
    session, other = last_session(sessions), json.loads(pathlib.Path(other).read_text())
    if what == "speed":
        holds = speed(session, other)
    else:
        holds = memory(session, other, os.path.getsize(sys.argv[4]))
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
