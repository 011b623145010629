"""Arguments as Apple's swift-argument-parser takes them, which devicectl is written with: options may stand
anywhere, an option's value may not be an option, unknown options are refused, and mistakes exit with 64."""

import sys

USAGE = """Usage: devicectl [--verbose] [--quiet] [--timeout <seconds>] [--json-output <path>] [--log-output <path>] <subcommand>
  See 'devicectl --help' for more information."""

# Names, and what the value is called; None for a flag.
COMMON = [
    (("--verbose", "-v"), None),
    (("--quiet", "-q"), None),
    (("--timeout", "-t"), "seconds"),
    (("--json-output", "-j"), "path"),
    (("--log-output", "-l"), "path"),
    (("--omit-deprecated-fields-in-json",), None),
]
DEVICE = (("--device", "-d"), "uuid|ecid|serial_number|udid|name|dns_name")
SUBCOMMANDS = {
    ("list", "devices"): ([(("--filter",), "filter"), (("--columns",), "columns")], []),
    ("device", "info", "lockState"): ([DEVICE], []),
    ("device", "info", "details"): ([DEVICE], []),
    ("device", "install", "app"): ([DEVICE], ["path"]),
    ("device", "process", "launch"): (
        [
            DEVICE,
            (("--terminate-existing",), None),
            (("--start-stopped",), None),
            (("--console",), None),
            (("--environment-variables", "-e"), "environment-variables"),
            (("--payload-url",), "payload-url"),
        ],
        ["bundle-identifier-or-path", "command-line-arguments ..."],
    ),
}


def mistake(what):
    print(f"Error: {what}\n{USAGE}", file=sys.stderr)
    sys.exit(64)


def parse(words):
    """The subcommand, its options by long name, and its arguments."""
    subcommand, rest = find_subcommand(words)
    options, positional = SUBCOMMANDS[subcommand]
    known = {name: (names, value) for names, value in COMMON + options for name in names}
    found, arguments, words = {}, [], list(rest)
    while words:
        word = words.pop(0)
        if word == "--":
            arguments += words
            break
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            continue
        name, equals, value = word.partition("=")
        if name not in known:
            mistake(f"Unknown option '{name}'")
        names, placeholder = known[name]
        if placeholder is None:
            found[names[0]] = True
        elif equals:
            found[names[0]] = value
        elif not words or (words[0].startswith("-") and words[0] != "-"):
            mistake(f"Missing value for '{name} <{placeholder}>'")
        else:
            found[names[0]] = words.pop(0)
    if DEVICE in options and "--device" not in found:
        mistake(f"Missing expected argument '--device <{DEVICE[1]}>'")
    if positional and not arguments:
        mistake(f"Missing expected argument '<{positional[0]}>'")
    if len(arguments) > len(positional) and not (positional and positional[-1].endswith("...")):
        mistake(f"Unexpected argument '{arguments[len(positional)]}'")
    if "--timeout" in found and not found["--timeout"].isdigit():
        mistake(f"The value '{found['--timeout']}' is invalid for '--timeout <seconds>'")
    return subcommand, found, arguments


def find_subcommand(words):
    """Takes the words of the subcommand; common options may stand before and between them."""
    common = {name: value for names, value in COMMON for name in names}
    taken, before, at = [], [], 0
    while at < len(words):
        word = words[at]
        if word in common:
            count = 1 if common[word] is None else 2
            before += words[at:at + count]
            at += count
            continue
        taken.append(word)
        at += 1
        if tuple(taken) in SUBCOMMANDS:
            return tuple(taken), before + list(words[at:])
        if not any(known[:len(taken)] == tuple(taken) for known in SUBCOMMANDS):
            break
    if taken and taken[-1].startswith("-"):
        mistake(f"Unknown option '{taken[-1]}'")
    mistake(f"Unexpected argument '{taken[-1]}'" if taken else "Missing subcommand")
