"""A full disk and a failing one at every write of every command.

A call that changes a file fails once with ENOSPC or EIO. The command has to end with exit code 3 and
name what failed, and the next start has to finish with the bytes of an undisturbed one. Where the
call that failed was talk (a terminal or a pipe), the command may also end as if nothing was.
"""

import re
import random
import shutil

import kills
import program

CALLS = ["write", "pwrite64", "writev", "fsync", "fdatasync", "rename", "renameat2", "ftruncate",
         "mkdir", "unlink", "copy_file_range", "fallocate"]


def failed_calls(log):
    """The calls that were made to fail, each whole: strace splits one where another thread interrupts."""
    begun, failed = {}, []
    for line in log:
        pid = line.split(maxsplit=1)[0]
        if "<unfinished" in line:
            begun[pid] = line
        if "(INJECTED)" in line:
            failed.append(begun.get(pid, "") + line if "resumed>" in line else line)
    return failed


def one_error(evalkit, start, work, command, expected, call, error, when):
    """One failing call; (whether it happened, why it is a fault or None)."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work)
    log = work.parent / "injected"
    wrapper = ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={call}",
               "-e", f"inject={call}:error={error}:when={when}"]
    words = kills.resolved(work, command)
    outcome = program.run(evalkit, words, work, wrapper=wrapper, limit_seconds=120)
    injected = failed_calls(log.read_text(errors="replace").splitlines())
    if not injected:
        return False, None
    # A command whose words on stderr are what fails cannot say why.
    is_silenced = any("write(2<" in line for line in injected)
    talk = all(re.search(r"\((1|2|\d+)<(pipe|/dev/)", line) for line in injected)
    where = f"{injected[0][:160]}"
    fault = outcome.fault()
    if fault and not (is_silenced and fault.endswith("without a reason")):
        return True, f"{fault} at {where}: {outcome.stderr[-300:].decode(errors='replace')}"
    if outcome.code not in ({0, 1, 3} if talk else {0, 3}):
        return True, f"exit code {outcome.code} at {where}: {outcome.stderr[-300:].decode(errors='replace')}"
    outcome = program.run(evalkit, words, work, limit_seconds=120)
    if outcome.code != 0:
        return True, f"afterwards exit code {outcome.code} at {where}: {outcome.stderr[-300:].decode(errors='replace')}"
    other = kills.difference(expected, kills.contents(work))
    return True, other and f"{other} after {where}"


def campaign(evalkit, root, seed, most, tell):
    """Every call of every command, or `most` of each kind drawn at random."""
    if most == 0:
        return
    if shutil.which("strace") is None:
        print("skipped: full and failing disks: strace is not installed")
        return
    for name, (steps, command) in kills.commands().items():
        place = root / name.replace(" ", "-")
        start, _, expected = kills.undisturbed(evalkit, place, steps, command)
        faults, tried = [], 0
        for call in CALLS:
            fresh = place / "count"
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(start, fresh)
            count = kills.calls_of(evalkit, fresh, kills.resolved(fresh, command), call)
            dice = random.Random(f"{seed}:{name}:{call}")
            spots = range(1, count + 1)
            for when in sorted(spots if most is None else dice.sample(spots, min(most, count))):
                error = dice.choice(["ENOSPC", "EIO"])
                happened, why = one_error(
                    evalkit, start, place / "work", command, expected, call, error, when
                )
                tried += happened
                if why:
                    faults.append((f"{call} {when} {error}", why, ""))
                tell()
        yield f"failing disk: {name}", tried, faults
