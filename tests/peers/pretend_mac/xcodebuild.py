"""xcodebuild of the pretend Mac: tells its version, and signs an app that a phone may refuse."""

import pathlib
import plistlib
import sys

import devicectl

BUILDS = {"16.0": "16A242d", "16.2": "16C5032a", "16.3": "16E140", "26.0": "17A324", "27.0": "27A266a"}
# Options with a value, and those without one.
WITH_VALUE = ("-project", "-scheme", "-configuration", "-destination", "-derivedDataPath")
FLAGS = ("-allowProvisioningUpdates", "-allowProvisioningDeviceRegistration", "-quiet")


def main(mac, words):
    if words == ["-version"]:
        print(f"Xcode {mac['xcode']}\nBuild version {BUILDS.get(mac['xcode'], '17X1')}")
        return
    options, settings, actions = parse(words)
    if actions != ["build"]:
        fail(64, f"xcodebuild: error: Unknown build action '{' '.join(actions)}'.")
    project = pathlib.Path(options["-project"])
    if not project.is_dir():
        fail(66, f"xcodebuild: error: '{project}' does not exist.")
    print("Command line invocation:\n    xcodebuild", *words)
    refuse_destination(mac, options["-destination"].removeprefix("id="))
    bundle_id = settings.get("PRODUCT_BUNDLE_IDENTIFIER", "dev.evalkit.runner")
    refuse_signing(mac, project, settings, bundle_id)
    if mac["mac_is_full"]:
        fail(65, f"error: unable to write file '{options['-derivedDataPath']}': No space left on device (28)",
             "** BUILD FAILED **")
    app = pathlib.Path(options["-derivedDataPath"]) / "Build/Products/Release-iphoneos/EvalRunner.app"
    app.mkdir(parents=True, exist_ok=True)
    info = {
        "CFBundleIdentifier": bundle_id,
        "team": mac["account"],
        "signature": "expired" if mac["signs_expired"] else "valid",
    }
    (app / "Info.plist").write_bytes(plistlib.dumps(info))
    print("** BUILD SUCCEEDED **")


def parse(words):
    options, settings, actions, words = {}, {}, [], list(words)
    while words:
        word = words.pop(0)
        if word in WITH_VALUE:
            if not words or words[0].startswith("-"):
                fail(64, f"xcodebuild: error: option '{word}' requires a value.")
            options[word] = words.pop(0)
        elif word in FLAGS:
            options[word] = True
        elif word.startswith("-"):
            fail(64, f"xcodebuild: error: invalid option '{word}'")
        elif "=" in word:
            name, _, value = word.partition("=")
            settings[name] = value
        else:
            actions.append(word)
    return options, settings, actions


def fail(code, *lines):
    print(*lines, sep="\n", file=sys.stderr)
    sys.exit(code)


def refuse_destination(mac, udid):
    phone = next((one for one in devicectl.phones(mac) if one["udid"] == udid), None)
    unmatched = ("xcodebuild: error: Unable to find a destination matching the provided destination specifier:\n"
                 f"\t\t{{ id:{udid} }}\n")
    if not mac["has_ios_platform"]:
        fail(70, unmatched, "\tIneligible destinations for the \"EvalRunner\" scheme:\n\t\t{ platform:iOS, "
             "id:dvtdevice-DVTiPhonePlaceholder-iphoneos:placeholder, name:Any iOS Device, error:iOS 26.0 is not "
             "installed. Please download and install the platform from Xcode > Settings > Components. }")
    if phone is None:
        fail(70, unmatched, "\tThe requested device could not be found because no available devices matched the "
             "request.")
    if int(phone["os"].split(".")[0]) < 18:
        fail(70, unmatched, f"\t\t{{ platform:iOS, id:{udid}, name:{phone['name']}, error:{phone['name']}’s iOS "
             f"{phone['os']} doesn’t match EvalRunner.app’s iOS 18.0 deployment target. }}")


def refuse_signing(mac, project, settings, bundle_id):
    place = "(in target 'EvalRunner' from project 'EvalRunner')"
    no_profile = (f"{project}: error: No profiles for '{bundle_id}' were found: Xcode couldn't find any iOS App "
                  f"Development provisioning profiles matching '{bundle_id}'. {place}")
    errors = []
    if "DEVELOPMENT_TEAM" not in settings:
        errors = [f'{project}: error: Signing for "EvalRunner" requires a development team. Select a development '
                  f"team in the Signing & Capabilities editor. {place}"]
    elif mac["account"] == "none":
        errors = [f"{project}: error: No Accounts: Add a new account in Accounts settings. {place}", no_profile]
    elif mac["account"] == "personal" and settings.get("CODE_SIGN_ENTITLEMENTS") != "":
        errors = [f'{project}: error: Personal development teams, including "A B", do not support the Extended '
                  f"Virtual Addressing and Increased Memory Limit capabilities. {place}", no_profile]
    elif bundle_id in mac["taken_bundle_ids"]:
        errors = [f'{project}: error: Failed Registering Bundle Identifier: The app identifier "{bundle_id}" cannot '
                  "be registered to your development team because it is not available. Change your bundle "
                  f"identifier to a unique string to try again. {place}", no_profile]
    if errors:
        fail(65, *errors, "** BUILD FAILED **")
