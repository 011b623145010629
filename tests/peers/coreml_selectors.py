#!/usr/bin/env python3
"""Holds the stand-in for Core ML (device-runner/Stubs/CoreML) against the crate objc2-core-ml 0.3.2,
which was generated from Apple's headers.

    tests/peers/coreml_selectors.py

Every declaration of the stand-in says above it what it is in Objective-C, and since when:

    /// Objective-C: -[MLModel newState], iOS 18.0     a method or property; + is a class's own
    /// Objective-C: MLState, iOS 18.0                 a class, a protocol, an enumeration or its case
    /// Swift only, iOS 17.4                           the headers have no such thing

The crate must have it, not deprecated, and agree with the Swift: class or instance, `throws`, `async`,
optional results, setters, numbers of cases, superclasses, Sendable. The crate does not say since when a
thing is there; the number here is the header's, and must not be above the iOS of Package.swift.

Needs cargo and crates.io; without them it says so and succeeds.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[2]
package = root / "device-runner"
# Not a stand-in, but what tests say to it.
NOT_APPLES = {"StubModels.swift"}
CRATE = "objc2-core-ml-0.3.2"
MANIFEST = """[package]
name = "selectors"
version = "0.0.0"
edition = "2021"

[lib]
path = "lib.rs"

[dependencies]
objc2-core-ml = { version = "=0.3.2", default-features = false }

[workspace]
"""


def crate_folder():
    """The crate's source, fetched once; ends well where it cannot be had."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "coreml-selectors"
    found = target / "vendor" / CRATE / "src" / "generated"
    if not found.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        (target / "Cargo.toml").write_text(MANIFEST)
        (target / "lib.rs").write_text("")
        vendor = ["cargo", "vendor", "--quiet", "--versioned-dirs", "vendor"]
        try:
            fetched = subprocess.run(vendor, cwd=target, timeout=80, capture_output=True, text=True)
            why = (fetched.stderr.strip().splitlines() or [""])[-1] if fetched.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as problem:
            why = str(problem)
        if why or not found.is_dir():
            print(f"skipped: Core ML's selectors: {CRATE} cannot be fetched from crates.io: {why}")
            sys.exit(0)
    return found


class Crate:
    """What the crate declares: methods by owner and selector, types with what they are, cases."""

    def __init__(self, folder):
        self.methods, self.types, self.cases, self.sendable = {}, {}, {}, set()
        for file in sorted(folder.glob("*.rs")):
            if file.name != "mod.rs":
                self.read(re.sub(r"^\s*//.*\n", "", file.read_text(), flags=re.MULTILINE))

    def read(self, text):
        self.sendable.update(re.findall(r"^unsafe impl Send for (\w+)", text, re.MULTILINE))
        for above, name in re.findall(r"#\[unsafe\(super\((\w+).*?\)\)\](?:.|\n)*?pub struct (\w+);", text):
            self.types[name] = above
        for name in re.findall(r"pub unsafe trait (\w+)", text):
            self.types[name] = "protocol"
        for name in re.findall(r"pub struct (\w+)\(pub NS\w+\);", text):
            self.types[name] = "enumeration"
        case = r'#\[doc\(alias = "(\w+)"\)\]\s*pub const \w+: Self = Self\(([\w |]+)\);'
        for name, value in re.findall(case, text):
            self.cases[name] = sum(int(bits, 0) for bits in value.split("|"))
        for part in re.split(r"^(?=impl |extern_protocol!)", text, flags=re.MULTILINE):
            owner = re.match(r"impl (\w+) \{|extern_protocol!\((?:.|\n)*?trait (\w+)", part)
            for attributes, selector, more, function in re.findall(
                r"((?:#\[[^\n]*\]\s*|#\[cfg\((?:.|\n)*?\)\]\s*)*?)#\[unsafe\(method\((\S+?)\)\)\]\s*"
                r"((?:#\[[^\n]*\]\s*)*)((?:pub )?unsafe fn (?:.|\n)*?;)", part):
                is_deprecated = "#[deprecated" in attributes + more
                key = (owner.group(1) or owner.group(2), selector.removesuffix("_"))
                self.methods[key] = (" ".join(function.split()), is_deprecated)


DECLARATION = re.compile(
    r"^\s*(?:@\w+ )*(?:(?:public|open|final|override|class|static|private\(set\)|mutating|nonisolated)\s+)*"
    r"(class|struct|enum|protocol|func|init|var|let|case|typealias|subscript)\b(.*)")
MARK = re.compile(r"/// (?:Objective-C: (\S.*?)|(Swift only)), iOS (\d+)\.(\d+)$")


def declarations(file):
    """Line, mark and Swift of every declaration that is Apple's: the public ones, enums' cases, and
    what protocols ask for."""
    lines = file.read_text().splitlines()
    protocol = False
    for at, line in enumerate(lines):
        if re.match(r"\S", line) and not line.startswith("//"):
            protocol = line.startswith("public protocol")
        kind = DECLARATION.match(line)
        is_case = re.match(r"\s*case \w", line) is not None
        is_public = re.match(r"\s*(?:@\w+ )*(?:public|open)\b", line) is not None
        if not kind or not (is_case or is_public or (protocol and line.startswith("    "))):
            continue
        swift = line.strip()
        for more in lines[at + 1 :]:
            if kind.group(1) not in ("func", "init") or swift.count("(") == swift.count(")") and (
                "{" in swift or protocol):
                break
            swift += " " + more.strip()
        above = at - 1
        marks = []
        while above >= 0 and re.match(r"\s*(///|@)", lines[above]):
            marks += [lines[above].strip()] if MARK.search(lines[above]) else []
            above -= 1
        yield at + 1, MARK.search(marks[0]) if len(marks) == 1 else None, kind.group(1), swift


def after_parameters(head):
    """How many parameters a function has, and what follows them: `async throws -> Result`."""
    depth, commas, start = 0, 0, head.index("(")
    for at, letter in enumerate(head):
        depth += (letter in "([") - (letter in ")]")
        commas += letter == "," and depth == 1
        if letter == ")" and depth == 0:
            return commas + 1 if head[start + 1 : at].strip() else 0, head[at + 1 :]
    return commas, ""


def check_method(crate, sign, owner, selector, kind, swift):
    """What is wrong with a declaration that is a method or a property."""
    if (owner, selector) not in crate.methods:
        others = sorted(name for of, name in crate.methods if of == owner)
        near = [name for name in others if name.split(":")[0] == selector.split(":")[0]] or others
        yield f"{owner} has no {selector}; it has {', '.join(near) or 'nothing'}"
        return
    function, is_deprecated = crate.methods[owner, selector]
    if is_deprecated:
        yield "Apple has deprecated it"
    is_instance = "&self" in function or "this: Allocated<Self>" in function
    if is_instance != (sign == "-"):
        yield f"in the headers it is of {'an instance' if is_instance else 'the class'}"
    if kind == "case":
        return
    if kind != "init" and (re.search(r"\b(class|static) (func|var|let)\b", swift) is not None) != (sign == "+"):
        yield f"the Swift is of {'an instance' if sign == '+' else 'the class'}"
    head = swift.split("{")[0]
    is_function = kind in ("func", "init")
    parameters, after = after_parameters(head) if is_function else (0, head.split(" = ")[0])
    result = after.rsplit("->" if kind == "func" else ":", 1)[-1].strip()
    returned = function.rsplit("->", 1)[-1] if "->" in function else ""
    calls_back = selector.endswith("ompletionHandler:")
    if is_function:
        names = [name for name in selector.split(":")[:-1] if name not in ("error", "completionHandler")]
        if len(names) != parameters:
            yield f"it has {parameters} parameters, {selector} has {len(names)}"
        throws = re.search(r"\bthrows\b", after) is not None
        if throws != (calls_back or returned.strip().startswith("Result<")):
            yield f"it {'throws' if throws else 'does not throw'}; in the headers: {function}"
        if (re.search(r"\basync\b", after) is not None) != calls_back:
            yield f"{selector} {'has' if calls_back else 'has no'} completion handler"
    if kind != "init" and not calls_back and result.endswith("?") != ("Option<" in returned):
        yield f"found a result {result}; in the headers: {function}"
    is_set = kind == "var" and "private(set)" not in swift and "{" not in swift
    setter = f"set{selector[0].upper()}{selector[1:]}:"
    if kind == "var" and is_set != ((owner, setter) in crate.methods):
        yield f"it can {'' if is_set else 'not '}be set; the headers have {'no ' if is_set else ''}{setter}"


def check_type(crate, name, kind, swift):
    """What is wrong with a declaration that is a type or an enumeration's case."""
    if kind == "case" and name in crate.cases:
        value = int(swift.rsplit("=", 1)[-1]) if "=" in swift else None
        if value != crate.cases[name]:
            yield f"expected {crate.cases[name]}, found {value}"
        return
    if name not in crate.types:
        yield f"the headers have no {name}"
    elif kind == "class" and "NSObject" in swift and crate.types[name] != "NSObject":
        yield f"it is no NSObject, but {crate.types[name]}"
    elif kind == "protocol" and crate.types[name] != "protocol":
        yield "it is no protocol"
    is_sendable = "Sendable" in swift
    if kind in ("class", "struct") and is_sendable != (name in crate.sendable):
        yield f"it is {'' if is_sendable else 'not '}Sendable, other than in the headers"


def main():
    crate = Crate(crate_folder())
    assert len(crate.methods) > 200 and len(crate.types) > 40, "the crate is read wrongly"
    newest = int(re.search(r"\.iOS\(\.v(\d+)\)", (package / "Package.swift").read_text()).group(1))
    count, problems = 0, []
    for file in sorted((package / "Stubs" / "CoreML").glob("*.swift")):
        if file.name in NOT_APPLES:
            continue
        for line, mark, kind, swift in declarations(file):
            count += 1
            place = f"{file.relative_to(root)}:{line}: {swift}"
            if not mark:
                problems.append(f"{place}\n  expected one line above it that says what it is in Objective-C")
                continue
            what, _, major, minor = mark.groups()
            if (int(major), int(minor)) > (newest, 0):
                problems.append(f"{place}\n  it is new in iOS {major}.{minor}; Package.swift says {newest}")
            if not what:
                continue
            method = re.fullmatch(r"([-+])\[(\w+) (\S+)\]", what)
            if method:
                found = check_method(crate, *method.groups(), kind, swift)
            else:
                found = check_type(crate, what, kind, swift)
            problems += [f"{place}\n  {what}: {problem}" for problem in found]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    assert count > 60, f"only {count} declarations were found"
    if problems:
        sys.exit(f"{len(problems)} of {count} declarations of the stand-in for Core ML are not the headers'")
    print(f"the stand-in for Core ML: {count} declarations are those of {CRATE}")


main()
