"""Checks the hand-written Xcode project: it parses, every id that is named exists, every id that
exists is named, and the scheme and the paths point at something. Needs PyPI's pbxproj."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

from pbxproj import XcodeProject

folder = Path(sys.argv[1])
project = XcodeProject.load(str(folder / "EvalRunner.xcodeproj/project.pbxproj"))
objects = {str(of.get_id()): of for of in project.objects.get_objects_in_section(*project.objects.get_sections())}
assert len(objects) >= 20, f"only {len(objects)} objects"
text = (folder / "EvalRunner.xcodeproj/project.pbxproj").read_text()
named = re.findall(r"\b[0-9A-F]{24}\b", text)
dangling = set(named) - set(objects)
assert not dangling, f"ids without an object: {dangling}"
unused = {one for one in objects if named.count(one) < 2}
assert not unused, f"objects that nothing names: {unused}"
assert int(str(project.objectVersion)) == 77

scheme = folder / "EvalRunner.xcodeproj/xcshareddata/xcschemes/EvalRunner.xcscheme"
for reference in ElementTree.parse(scheme).iter("BuildableReference"):
    assert str(objects[reference.get("BlueprintIdentifier")].isa) == "PBXNativeTarget"
for entitlements in set(re.findall(r"CODE_SIGN_ENTITLEMENTS = ([^;]+);", text)):
    keys = [key.text for key in ElementTree.parse(folder / entitlements).iter("key")]
    assert len(keys) == 2, keys
for path in re.findall(r"relativePath = ([^;]+);|path = (\.\./[^;]+);", text):
    assert (folder / "".join(path)).is_dir(), path
print(f"the Xcode project has {len(objects)} objects and no dangling id")

# Before Xcode 16.3 `@preconcurrency import Darwin` is only obeyed where no import before it brings
# Darwin along (swiftlang/swift#76842), as Foundation does.
for source in sorted(folder.parent.glob("Sources/**/*.swift")):
    imports = re.findall(r"^ *((?:@\w+ +)*import +\w+)", source.read_text(), re.MULTILINE)
    imports = [one for one in imports if "Stub" not in one]
    late = [one for one in imports[1:] if one.startswith("@preconcurrency")]
    assert not late, f"{source}: {late[0]} after {imports[0]}: expected it to be the first import"
print("every @preconcurrency import is its file's first")

# What only one system compiles, a build on stand-ins must compile too (Package.swift).
sources = [*folder.parent.glob("Sources/**/*.swift"), *folder.parent.glob("App/**/*.swift")]
for source in sorted(sources):
    for condition in re.findall(r"#(?:else)?if (.*)", source.read_text()):
        is_turned = "EVALKIT_STUB" in condition or "arch(" in condition
        assert is_turned or "os(" not in condition, f"{source}: no stand-in turns '#if {condition}'"
print("every condition about a system is turned by a build on stand-ins")
