#!/usr/bin/env python3
"""Writes the stories of the demo dataset, and knows their true entropy.

Why a generator: on written text nobody knows how well a model could do at best.
Here the text is drawn from a known distribution, so the information it carries,
and with it the floor of every perplexity measured on it, is known exactly.

The text is drawn by choices, and the information of a choice of probability p is
-ln p. Their sum is the information of the *text* only if no two sequences of
choices write the same text. They never do, by this argument: a choice is written
at the moment it is made, as the text of its option up to the next choice (its
lead). Among the options of one choice no lead is empty or begins another
(asserted at every choice: `assert_prefix_free`), so a reader who has decoded all
earlier choices, and thus knows the options and their weights, finds exactly one
option whose lead the text continues with. By induction from the first byte, the
text determines every choice: the choices form a prefix code. How many stories
there are is fixed by the size asked for and carries no information.

`--check` puts the argument to the test: it reads the written text back into
choices, recomputes the sum, and demands the same number to the last bit.

Integer weights and Python's Mersenne Twister make the text follow from the seed
alone; `math.fsum` makes the sum independent of its order.
"""

import argparse
import functools
import hashlib
import json
import math
import random
import re
import sys
from pathlib import Path

from grammar import DISTINCT, FACTS, NUMBERS, ORDINALS, SECTIONS, TABLES, Given, Tilted

HERE = Path(__file__).resolve().parent
EVAL_SEED, EVAL_BYTES = 2, 180_000
TRAIN_SEED, TRAIN_BYTES = 1, 4_000_000
CHOICE = re.compile(r"<(\w+)(?::(\w+))?>")


class Writer:
    """Makes choices at random and writes them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pieces = []

    def pick(self, leads, weights):
        """The index of the option chosen, in proportion to its weight."""
        point = self.random.random() * sum(weights)
        for index, weight in enumerate(weights):
            point -= weight
            if point < 0:
                break
        self.pieces.append(leads[index])
        return index

    def say(self, text):
        """Writes text that is no choice."""
        self.pieces.append(text)


class Reader:
    """Finds in a text the choices that wrote it."""

    def __init__(self, text):
        self.text = text
        self.at = 0

    def pick(self, leads, _weights):
        """The index of the one option the text goes on with."""
        fits = [i for i, lead in enumerate(leads) if self.text.startswith(lead, self.at)]
        if len(fits) != 1:
            raise ValueError(f"byte {self.at}: {len(fits)} of {len(leads)} options fit {self.ahead()}")
        self.at += len(leads[fits[0]])
        return fits[0]

    def say(self, text):
        """Steps over text that is no choice."""
        if not self.text.startswith(text, self.at):
            raise ValueError(f"byte {self.at}: expected {text!r}, got {self.ahead()}")
        self.at += len(text)

    def ahead(self):
        """The text that comes next, for messages."""
        return repr(self.text[self.at : self.at + 40])


@functools.lru_cache(maxsize=None)
def assert_prefix_free(leads):
    """Fails unless no lead is empty or begins another: what decoding rests on."""
    order = sorted(leads)
    if len(order) > 1 and not order[0]:
        raise ValueError(f"an empty lead among {leads}")
    for first, second in zip(order, order[1:]):
        if second.startswith(first):
            raise ValueError(f"{first!r} begins {second!r}")


class Story:
    """Tells one story through a Writer or a Reader, summing the information."""

    def __init__(self, voice):
        self.voice = voice
        self.facts = {}
        self.used = {}
        self.surprises_nats = []

    def choose(self, options):
        """Chooses among {template: weight} and returns the template with its rest to tell."""
        templates, weights = list(options), list(options.values())
        splits = [CHOICE.split(template, maxsplit=1) for template in templates]
        leads = tuple(split[0].format_map(self.facts) for split in splits)
        assert_prefix_free(leads)
        index = self.voice.pick(leads, weights)
        self.surprises_nats.append(-math.log(weights[index] / sum(weights)))
        return templates[index]

    def tell(self, section, without=()):
        """Chooses a sentence of a section, tells it whole, and returns its template."""
        options = self.resolve(SECTIONS[section])
        template = self.choose({t: w for t, w in options.items() if t not in without})
        _, *parts = CHOICE.split(template)
        for table, name, text in zip(parts[0::3], parts[1::3], parts[2::3]):
            self.bind(table, name or table)
            self.voice.say(text.format_map(self.facts))
        return template

    def bind(self, table, name):
        """Chooses a word from a table and remembers it, with what follows from it."""
        options = self.foods() if table == "share" else self.resolve(TABLES[table])
        used = self.used.setdefault(table, set())
        word = self.choose({w: n for w, n in options.items() if w not in used})
        if table in DISTINCT:
            used.add(word)
        self.facts[name] = word
        self.facts.update(FACTS.get(table, {}).get(word, {}))

    def resolve(self, options):
        """The options and weights that hold after the choices made so far."""
        if isinstance(options, Given):
            return options.cases[self.facts[options.key]]
        if isinstance(options, Tilted):
            words, weights = list(options.options), list(options.options.values())
            shift = self.rank(options.key) % len(words)
            return dict(zip(words[shift:] + words[:shift], weights))
        return options

    def rank(self, key):
        """The place of a remembered word in its table; 0 while it is unknown."""
        table = TABLES[key]
        words = list(table.options if isinstance(table, Tilted) else table)
        return words.index(self.facts[key]) if key in self.facts else 0

    def foods(self):
        """The foods that were packed; the first is shared most often."""
        return {self.facts[f"food{i}"]: weight for i, weight in ((1, 6), (2, 3), (3, 1))}

    def search(self):
        """Tells how the lost things are found, one by one; one attempt may fail."""
        failed, found = (), 0
        while found < NUMBERS[self.facts["count"]]:
            self.facts["ordinal"] = ORDINALS[found]
            template = self.tell("search", without=failed)
            if template.endswith("nothing."):
                failed = (template,)
            else:
                found += 1

    def pauses(self):
        """Tells what happens meanwhile, each kind of thing once, until all is found."""
        told = []
        while not (told and told[-1].endswith("back.")):
            told.append(self.tell("pause", without=tuple(told)))
        names = ("food1", "food2", "food3")
        foods = [f"the {self.facts[n]}" for n in names if self.facts[n] != self.facts.get("share")]
        self.facts["left"] = ", ".join(foods[:-1]) + " and " + foods[-1]

    def run(self):
        """Tells the story and returns its information in nats."""
        for section in ("opening", "gear", "lunch", "sky", "meeting", "loss"):
            self.facts.setdefault("time", "day")  # the opening may leave it open
            self.tell(section)
        self.search()
        self.pauses()
        for section in ("thanks", "evening", "last"):
            self.tell(section)
        return math.fsum(self.surprises_nats)


def write(seed, size_bytes):
    """Stories until the text has at least `size_bytes`: (text, nats of each story)."""
    voice, nats, size = Writer(seed), [], 0
    while size < size_bytes:
        mark = len(voice.pieces)
        nats.append(Story(voice).run())
        size += len("".join(voice.pieces[mark:]))
    return "".join(voice.pieces), nats


def read(text):
    """The nats of each story of a text, by decoding it."""
    voice, nats = Reader(text), []
    while voice.at < len(text):
        nats.append(Story(voice).run())
    return nats


def describe(text, nats, seed):
    """What is recorded beside a text."""
    data = text.encode("ascii")
    total = math.fsum(nats)
    return {
        "seed": seed,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "stories": len(nats),
        "distinct_words": len(set(re.findall(r"[a-z']+", text.lower()))),
        "entropy_nats": round(total, 6),
        "entropy_bits_per_byte": round(total / math.log(2) / len(data), 9),
    }


def check(path, expected):
    """Decodes the text on disk and compares it with its record; returns complaints."""
    text = path.read_bytes().decode("ascii")
    decoded = read(text)
    again, nats = write(expected["seed"], EVAL_BYTES)
    complaints = []
    if decoded != nats:
        complaints.append("the choices read back carry other information than those written")
    if again != text:
        complaints.append("the seed writes another text")
    if describe(text, decoded, expected["seed"]) != expected:
        complaints.append("the record does not describe the text")
    return complaints


def parse_args():
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the demo stories and their true entropy.")
    parser.add_argument("--check", action="store_true", help="re-parse text.txt and compare it with text.json; write nothing")
    parser.add_argument("--train-bytes", type=int, default=TRAIN_BYTES, help="least size of train.txt (default %(default)s)")
    return parser.parse_args()


def main():
    """Writes train.txt, text.txt and text.json, or checks the latter two."""
    args = parse_args()
    text_path, record_path = HERE / "text.txt", HERE / "text.json"
    if args.check:
        complaints = check(text_path, json.loads(record_path.read_text()))
        for complaint in complaints:
            print(f"text.txt: {complaint}", file=sys.stderr)
        print("text.txt: " + ("failed" if complaints else "decodes to the recorded entropy"))
        return 1 if complaints else 0
    train, train_nats = write(TRAIN_SEED, args.train_bytes)
    (HERE / "train.txt").write_bytes(train.encode("ascii"))
    text, nats = write(EVAL_SEED, EVAL_BYTES)
    text_path.write_bytes(text.encode("ascii"))
    record_path.write_text(json.dumps(describe(text, nats, EVAL_SEED), indent=2) + "\n")
    print(json.dumps({"train": describe(train, train_nats, TRAIN_SEED), "text": describe(text, nats, EVAL_SEED)}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
