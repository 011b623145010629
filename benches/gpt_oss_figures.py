"""Prints what a sweep of the gpt-oss-shaped checkpoint took, and what the real model would take.

    gpt_oss_figures.py SESSIONS PREDICTED LAYERS       SESSIONS: sessions.jsonl of the run
                                                       PREDICTED: sweep --dry-run --format json

Exit code 1 where a limit is missed. Needs Python alone.
"""

import json
import pathlib
import sys

from figures import judged, last_session, machine

MAX_ANON_BYTES = 4e9
REAL_LAYERS = 24
LAYER_PHASES = ["read", "code", "decode", "reference forward", "forward"]
VOCABULARY_PHASES = ["embedding", "head code", "reference head", "head"]


def times(session, layers):
    """Time by phase and layer, and the real model's."""
    ms = {phase["phase"]: phase["elapsed_ms"] for phase in session["phases"]}
    print(f"{machine()}; {session['threads']} threads; sweep: {session['elapsed_ms'] / 1e3:.1f} s")
    print(f"  {'per layer':18} {sum(ms[name] for name in LAYER_PHASES) / layers / 1e3:7.2f} s")
    for name in LAYER_PHASES:
        print(f"    {name:16} {ms[name] / layers / 1e3:7.2f} s")
    for name in VOCABULARY_PHASES:
        print(f"  {name:18} {ms[name] / 1e3:7.2f} s")
    layer_ms = sum(ms[name] for name in LAYER_PHASES) / layers
    whole_ms = layer_ms * REAL_LAYERS + sum(ms[name] for name in VOCABULARY_PHASES)
    print(f"predicted for {REAL_LAYERS} layers: {whole_ms / 1e3:.0f} s "
          f"({REAL_LAYERS} x per layer, embedding and head once)")


def memory(session, predicted):
    """Peak memory against its prediction and the limit; whether both hold."""
    [table] = [table for table in predicted["tables"] if table["title"].startswith("Peak memory")]
    for row in table["rows"]:
        print(f"  {row['purpose']:34} {row['size_bytes'] / 1e6:6.0f} MB")
    sum_bytes = table["rows"][-1]["size_bytes"]
    anon_bytes = session["peak"]["rss_anon_bytes"]
    print(f"peak: {anon_bytes / 1e6:.0f} MB RssAnon, "
          f"{session['peak']['rss_file_bytes'] / 1e6:.0f} MB RssFile (mapped; can be dropped)")
    holds = True
    for limit_bytes, name in [(sum_bytes, "the predicted sum"), (MAX_ANON_BYTES, "the limit")]:
        text = f"RssAnon / {name} of {limit_bytes / 1e6:.0f} MB: {anon_bytes / limit_bytes:.1%}"
        holds = judged(anon_bytes <= limit_bytes, text) and holds
    return holds


def main():
    """Prints both."""
    sessions, predicted, layers = sys.argv[1:4]
    session = last_session(sessions)
    times(session, int(layers))
    sys.exit(0 if memory(session, json.loads(pathlib.Path(predicted).read_text())) else 1)


if __name__ == "__main__":
    main()
