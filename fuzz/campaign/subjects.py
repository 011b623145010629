"""The files that evalkit reads, each with a command that reads it.

A subject is a folder that evalkit itself made or the project has, the file in it that is mutated,
its form (see mutate.py), and the commands that are run in the folder.
"""

import dataclasses
import pathlib
import shutil
import signal

import program

PROJECT = pathlib.Path(__file__).resolve().parents[2]
SCORED = ["--context", "64", "--limit", "2"]
RUN = "reports/run"


@dataclasses.dataclass
class Subject:
    """One file that is mutated."""

    name: str
    folder: pathlib.Path
    file: str
    form: str
    commands: list


def must(evalkit, folder, *arguments):
    """Runs a command that has to succeed."""
    outcome = program.run(evalkit, list(arguments), folder, limit_seconds=300)
    if outcome.code != 0:
        raise SystemExit(f"evalkit {' '.join(arguments)}: {outcome.code}\n{outcome.stderr.decode()}")


def only(folder, pattern):
    """The one file of `folder` that fits `pattern`, relative to it."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise SystemExit(f"{folder} has nothing like {pattern}")
    return str(found[0].relative_to(folder))


def text(folder):
    """Some of the demo's text, for scoring and for calibrating."""
    whole = (PROJECT / "datasets/demo/text.txt").read_bytes()
    (folder / "text.txt").write_bytes(whole[:20000])
    (folder / "calibration.txt").write_bytes(whole[40000:60000])


def checkpoint(root):
    """The demo as a folder, and a small GGUF file."""
    folder = root / "checkpoint"
    folder.mkdir(parents=True)
    text(folder)
    shutil.copytree(PROJECT / "datasets/demo/model", folder / "model")
    shutil.copy(PROJECT / "tests/golden/tiny-llama.gguf", folder / "tiny.gguf")
    perplexity = ["perplexity", "-t", "text.txt", *SCORED]
    inspect = ["inspect", "model", "--tensors"]
    score = [*perplexity, "-m", "model"]
    gguf = [["inspect", "tiny.gguf", "--tensors"], [*perplexity, "-m", "tiny.gguf"]]
    return [
        Subject("config.json", folder, "model/config.json", "json", [inspect, score]),
        Subject("tokenizer.json", folder, "model/tokenizer.json", "json", [score]),
        Subject("safetensors", folder, "model/model.safetensors", "header", [inspect, score]),
        Subject("GGUF", folder, "tiny.gguf", "bytes", gguf),
        Subject("text", folder, "text.txt", "bytes", [score]),
    ]


def quantized(evalkit, root):
    """Coded weights and saved moments."""
    folder = root / "quantized"
    folder.mkdir(parents=True)
    text(folder)
    calibration = ["--calibrate", "calibration.txt", "--calibration-windows", "2"]
    must(evalkit, folder, "calibrate", *calibration, "--context", "64", "-o", "demo.moments")
    must(evalkit, folder, "quantize", "--recipe", "palette2-g16-s", "-o", "coded.safetensors")
    coded = ["perplexity", "-t", "text.txt", "--coded", "coded.safetensors", *SCORED]
    moments = ["quantize", "--recipe", "int4-cal", "--calibration", "demo.moments", "-o", "new.safetensors"]
    return [
        Subject("coded weights", folder, "coded.safetensors", "header", [coded]),
        Subject("moments", folder, "demo.moments", "header", [moments]),
    ]


def packages(evalkit, root):
    """A package and its description."""
    folder = root / "packages"
    folder.mkdir(parents=True)
    must(evalkit, folder, "package", "--recipe", "palette4-g16-s", "-o", "p")
    verify = ["verify", "p", "--tokens", "4"]
    bench = ["bench", "p", "--prompt-tokens", "4", "--generate", "4", "--repetitions", "1"]
    weights = only(folder, "p/**/weight.bin")
    model = only(folder, "p/**/model.mlmodel")
    return [
        Subject("model.json", folder, "p/model.json", "json", [verify, bench]),
        Subject("Manifest.json", folder, only(folder, "p/**/Manifest.json"), "json", [verify]),
        Subject("model.mlmodel", folder, model, "bytes", [verify]),
        Subject("weight.bin", folder, weights, "bytes", [verify]),
    ]


def runs(evalkit, root):
    """A run with everything in it, and a baseline of it."""
    folder = root / "runs"
    folder.mkdir(parents=True)
    text(folder)
    sweep = [
        "sweep", "-t", "text.txt", *SCORED, "--recipes", "int8,palette4-g16-s-cal",
        "--calibrate", "calibration.txt", "--calibration-windows", "2",
    ]
    device = ["--package", "--device", "host", "--repetitions", "6", "--prompt-tokens", "4", "--generate", "4"]
    must(evalkit, folder, *sweep, *device)
    made = next(path.parent for path in (folder / "reports").glob("*/records.jsonl"))
    run = f"reports/{made.name}"
    must(evalkit, folder, "baseline", "accept", run)
    must(evalkit, folder, "report", run, "--condense", "condensed")
    report, check = ["report", run], ["check", run]
    subjects = [
        Subject("records", folder, f"{run}/records.jsonl", "lines", [report, check, sweep]),
        Subject("measurements", folder, f"{run}/measurements.jsonl", "lines", [report, check]),
        Subject("sessions", folder, f"{run}/sessions.jsonl", "lines", [report, sweep]),
        Subject("coding", folder, f"{run}/coding.jsonl", "lines", [report, sweep]),
        Subject("plan", folder, f"{run}/plan.toml", "text", [report, ["sweep", "--plan", f"{run}/plan.toml", "--dry-run"]]),
        Subject("coded weights of a run", folder, only(folder, "reports/*/coded/*.safetensors"), "header", [sweep]),
    ]
    for file in sorted((folder / "reports/baselines").rglob("*")):
        if file.is_file() and file.suffix in {".json", ".jsonl", ".toml"}:
            name = str(file.relative_to(folder))
            form = {"json": "json", "jsonl": "lines", "toml": "text"}[file.suffix[1:]]
            subjects.append(
                Subject(f"baseline {file.name}", folder, name, form, [check, ["baseline", "list"]])
            )
    for file in sorted((folder / "condensed").rglob("*.json*")):
        name = str(file.relative_to(folder))
        subjects.append(
            Subject(f"condensed {file.name}", folder, name, "lines", [["report", "condensed"]])
        )
    return subjects


def interrupted(evalkit, root):
    """A calibration that was cut off between two layers, with what it keeps for the next start."""
    folder = root / "interrupted"
    folder.mkdir(parents=True)
    text(folder)
    sweep = [
        "sweep", "-t", "text.txt", *SCORED, "--recipes", "palette4-g16-s-cal",
        "--calibrate", "calibration.txt", "--calibration-windows", "4",
    ]
    # A state is kept at Ctrl-C, between two layers.
    for steps in range(1, 100):
        shutil.rmtree(folder / "reports", ignore_errors=True)
        program.run(evalkit, sweep, folder, kill_after_s=steps / 20, by=signal.SIGINT)
        kept = [
            path for path in folder.glob("reports/*/**/*")
            if path.is_file() and path.suffix not in {".jsonl", ".toml"} and path.stat().st_size > 0
        ]
        if kept:
            return [
                Subject(f"kept state {path.name}", folder, str(path.relative_to(folder)), "header", [sweep])
                for path in kept
            ]
    print("skipped: kept states: the calibration ended before it could be cut off")
    return []


def all_subjects(evalkit, root):
    """Every subject, made anew under `root`."""
    return [
        *checkpoint(root),
        *quantized(evalkit, root),
        *packages(evalkit, root),
        *runs(evalkit, root),
        *interrupted(evalkit, root),
    ]
