#!/usr/bin/env python3
"""A pretend Mac: Apple's `xcrun`, `xcodebuild` and `xcode-select`, as evalkit calls them, with phones that
fail in the ways that real ones do. Started by the name of the tool (a symbolic link to this file).

EVALKIT_PRETEND_MAC names a folder. Its `state.json` says what there is; what it does not say is as in
`DEFAULTS`. Every call is appended to `log.jsonl`: tool, arguments, names of the variables for the app.
The words of failures are those of the real tools, from public reports; arguments are parsed as strictly as
the real ones do (`arguments.py`). Standard library only.
"""

import json
import os
import pathlib
import sys

sys.dont_write_bytecode = True
import devicectl
import xcodebuild

COMMAND_LINE_TOOLS = "/Library/Developer/CommandLineTools"
XCODE = "/Applications/Xcode.app/Contents/Developer"

DEFAULTS = {
    # The selected Xcode: "26.0", "command line tools", or "none".
    "xcode": "26.0",
    "licence_accepted": True,
    "has_ios_platform": True,
    "mac_is_full": False,
    # Of devicectl's JSON; version 5 without the fields that it announces to remove.
    "json_version": 4,
    "omits_deprecated": False,
    # Who signs: "paid", "personal" or "none" (no account in Xcode).
    "account": "paid",
    "taken_bundle_ids": [],
    "signs_expired": False,
    "phones": [],
    # The command that is the app, started at a launch with the app's variables.
    "app": None,
}


class Mac:
    """The pretend Mac's state, kept in a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        text = (self.folder / "state.json").read_text()
        self.state = {**DEFAULTS, **json.loads(text)}

    def __getitem__(self, name):
        return self.state[name]

    def keep(self):
        new = self.folder / "state.new"
        new.write_text(json.dumps(self.state))
        new.replace(self.folder / "state.json")

    def log(self, tool, arguments):
        child = sorted(name for name in os.environ if name.startswith("DEVICECTL_CHILD_"))
        line = {"tool": tool, "arguments": arguments, "child_variables": child}
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")

    def refuse_without_xcode(self, tool):
        """What /usr/bin/TOOL does where there is no Xcode, or one that was not set up."""
        if self["xcode"] == "none":
            print("xcode-select: note: No developer tools were found, requesting install.\n"
                  "If developer tools are located at a non-default location on disk, use `sudo xcode-select"
                  " --switch path/to/Xcode.app` to specify the Xcode that you wish to use for command line "
                  "developer tools, and cancel the installation dialog.\nSee `man xcode-select` for more "
                  "details.", file=sys.stderr)
            sys.exit(1)
        if self["xcode"] == "command line tools" and tool == "xcodebuild":
            print(f"xcode-select: error: tool 'xcodebuild' requires Xcode, but active developer directory "
                  f"'{COMMAND_LINE_TOOLS}' is a command line tools instance", file=sys.stderr)
            sys.exit(1)
        if not self["licence_accepted"]:
            print("\nYou have not agreed to the Xcode license agreements. Please run 'sudo xcodebuild -license'"
                  " from within a Terminal window to review and agree to the Xcode and Apple SDKs license.",
                  file=sys.stderr)
            sys.exit(69)


def xcrun(mac, arguments):
    mac.refuse_without_xcode("xcrun")
    if arguments[:1] in (["--find"], ["-f"]):
        if mac["xcode"] == "command line tools" and arguments[1] in ("devicectl", "xcodebuild"):
            no_utility(arguments[1])
        print(f"{XCODE}/usr/bin/{arguments[1]}")
    elif arguments[:1] == ["devicectl"]:
        if mac["xcode"] == "command line tools":
            no_utility("devicectl")
        devicectl.main(mac, arguments[1:])
    elif arguments[:1] == ["xcodebuild"]:
        xcodebuild.main(mac, arguments[1:])
    else:
        no_utility(arguments[0] if arguments else "")


def no_utility(name):
    print(f'xcrun: error: unable to find utility "{name}", not a developer tool or in PATH', file=sys.stderr)
    sys.exit(72)


def xcode_select(mac, arguments):
    if arguments not in (["-p"], ["--print-path"]):
        print(f"xcode-select: error: invalid argument '{' '.join(arguments)}'", file=sys.stderr)
        sys.exit(1)
    if mac["xcode"] == "none":
        print("xcode-select: error: unable to get active developer directory, use `sudo xcode-select --switch "
              "path/to/Xcode.app` to set one (or see `man xcode-select`)", file=sys.stderr)
        sys.exit(2)
    print(COMMAND_LINE_TOOLS if mac["xcode"] == "command line tools" else XCODE)


def main():
    tool, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
    mac = Mac(os.environ["EVALKIT_PRETEND_MAC"])
    mac.log(tool, arguments)
    if tool == "xcodebuild":
        mac.refuse_without_xcode(tool)
        xcodebuild.main(mac, arguments)
    else:
        {"xcrun": xcrun, "xcode-select": xcode_select}[tool](mac, arguments)


if __name__ == "__main__":
    main()
