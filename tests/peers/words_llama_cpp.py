#!/usr/bin/env python3
"""Splits texts into words with llama.cpp's own code and rules.

    words_llama_cpp.py LLAMA_CPP TEXTS OUT     writes OUT, which EVALKIT_WORDS names

Reads the rules from LLAMA_CPP/src/llama-vocab.cpp, compiles LLAMA_CPP/src/unicode.cpp with a C++
compiler, and splits the texts of LLAMA_CPP/models/*.inp and TEXTS random ones by every rule.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# Where the rules below and the models' own expressions part, so that nothing can be compared.
# Comments in llama.cpp say that these expressions stand for others, which its engine cannot run: it
# takes all letters outside of ASCII for upper and lower case, and marks for no letters.
CASED = {"GPT4O", "MINIMAX_M2", "TEKKEN"}
# It takes all letters for upper and lower case.
CASELESS = {"TINY_AYA", "YOUTU"}
# It puts the text before a number and the number's first digits into one word (and says that this is to
# be revisited).
THREES = {"TINY_AYA", "AFMOE"}
# It takes white space outside of ASCII out of the ranges of characters in these.
RANGES = {"DEEPSEEK_LLM", "DEEPSEEK_CODER"}
DIVIDER = "\n__ggml_vocab_test__\n"
PARTS = (
    "a be The HELLO camelCase iPhone 's 'S 't 'll 'RE n't ' 1 12 123 1234567 0 . , ! ? ... -- ( ) "
    "[x] { } + = <= # $ % & * / \\ ^ _ ` | ~ @ é É ñ ß ж Ж привет ПРИВЕТ α Ω ا ב क ि न् ไทย ก 中 文字 "
    "。 ， ！ ～ ひらがな カタカナ ー 한국어 ㄱ ½ ² Ⅷ ٣ € ° “ ” … — \u0301 \U0001f600 "
    "\U0001f468\u200d\U0001f469 \u00a0 \u3000 \u2028 \u0085"
).split(" ") + [" ", " ", " ", "  ", "    ", "\n", "\n\n", "\r\n", "\t", "\x0b"]


def literals(text):
    """The string literals of C++ source."""
    escapes = {"n": "\n", "r": "\r", "t": "\t"}
    for literal in re.findall(r'"((?:[^"\\]|\\.)*)"', text):
        yield re.sub(r"\\(.)", lambda found: escapes.get(found[1], found[1]), literal)


def expressions_by_type(source):
    body = source[source.index("struct llm_tokenizer_bpe : ") : source.index("struct llm_tokenizer_bpe_session")]
    body = re.sub(r"^\s*//.*$", "", body, flags=re.M)
    found, types = {}, []
    pattern = r"case LLAMA_VOCAB_PRE_TYPE_(\w+):|(default):|regex_exprs = \{(.*?)\n +\};"
    for case in re.finditer(pattern, body, re.S):
        if case[3] is None:
            types.append(case[1] or "DEFAULT")
            continue
        found.update(dict.fromkeys(types, list(literals(case[3]))))
        types = []
    return found


def rules(source):
    """Name -> expressions and flags."""
    by_type = expressions_by_type(source)
    load = source[source.index("if (tokenizer_pre.empty())") : source.index("unknown pre-tokenizer type")]
    found = {}
    for branch in load.split("} else if (")[1:]:
        kind = re.search(r"pre_type = LLAMA_VOCAB_PRE_TYPE_(\w+)", branch)[1]
        for name in re.findall(r'tokenizer_pre == "([^"]+)"', branch):
            found[name] = {
                "expressions": by_type.get(kind, by_type["DEFAULT"]),
                "ignore_merges": "ignore_merges = true" in branch,
                "add_bos": "add_bos = true" in branch,
                "kind": kind,
            }
    return found


def is_comparable(kind, text):
    if kind in CASED and not text.isascii():
        return False
    if kind in CASELESS and not (text.isascii() and text == text.lower()):
        return False
    if kind in THREES and any(c.isnumeric() for c in text) and not re.fullmatch("[0-9]+", text):
        return False
    return kind not in RANGES or not any(c.isspace() and not c.isascii() for c in text)


def texts(folder, count):
    known = {}
    for path in sorted(folder.glob("*.inp")):
        known.update(dict.fromkeys(path.read_text(encoding="utf-8").split(DIVIDER)))
    chosen = random.Random(17)
    made = ("".join(chosen.choices(PARTS, k=chosen.randint(1, 24))) for _ in range(count))
    return [text for text in [*known, *made] if text]


def main(llama_cpp, count, out):
    source = Path(llama_cpp) / "src"
    named = rules((source / "llama-vocab.cpp").read_text(encoding="utf-8"))
    all_texts = texts(Path(llama_cpp) / "models", int(count))
    lines = "".join(text.encode().hex() + "\n" for text in all_texts)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "words"
        own = Path(__file__).with_suffix(".cpp")
        code = [own, source / "unicode.cpp", source / "unicode-data.cpp"]
        subprocess.run(["c++", "-std=c++17", "-O1", "-I", source, *code, "-o", program], check=True)
        split = {}
        for rule in named.values():
            expressions = rule.pop("expressions")
            if tuple(expressions) not in split:
                run = subprocess.run(
                    [program, *expressions], input=lines, capture_output=True, text=True, check=True
                )
                words = [[int(length) for length in line.split()] for line in run.stdout.splitlines()]
                split[tuple(expressions)] = words
            kind = rule.pop("kind")
            rule["lengths"] = [
                lengths if is_comparable(kind, text) else None
                for text, lengths in zip(all_texts, split[tuple(expressions)])
            ]
    Path(out).write_text(json.dumps({"texts": all_texts, "rules": named}), encoding="utf-8")
    print(f"{len(all_texts)} texts, {len(named)} names of rules, {len(split)} rules")


main(*sys.argv[1:])
