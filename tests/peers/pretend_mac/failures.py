"""Failures of CoreDevice with their real codes and words, as devicectl puts them into its JSON and prints
them. The words are from public reports of devicectl 477 to 651."""

CORE_DEVICE = "com.apple.dt.CoreDeviceError"
OPEN_SERVICE = "FBSOpenApplicationServiceErrorDomain"
OPEN = "FBSOpenApplicationErrorDomain"


class Failure(Exception):
    """An error with those that it is due to, from the outermost to the innermost."""

    def __init__(self, *chain):
        super().__init__(chain[0][2])
        self.chain = chain

    def to_json(self):
        inner = None
        for domain, code, description, more in reversed(self.chain):
            info = {"NSLocalizedDescription": {"string": description}}
            info.update({name: {"string": text} for name, text in more.items()})
            if inner is not None:
                info["NSUnderlyingError"] = {"error": inner}
            inner = {"code": code, "domain": domain, "userInfo": info}
        return inner

    def to_text(self):
        lines = []
        for depth, (domain, code, description, more) in enumerate(self.chain):
            start = "ERROR: " if depth == 0 else "    " * (depth + 1)
            lines.append(f"{start}{description} ({domain} error {code} (0x{code & 0xFFFFFFFF:02X}))")
            lines += ["    " * (depth + 2) + f"{name} = {text}" for name, text in more.items()]
        return "\n".join(lines)


def not_found(identifier):
    return Failure((CORE_DEVICE, 1011, "CoreDeviceService was unable to locate a device matching the requested "
                    f"device identifier. (DeviceIdentifier: {identifier})", {}))


def not_paired():
    return Failure((CORE_DEVICE, 2, "The device must be paired before it can be connected.", {}))


def unreachable():
    return Failure(
        (CORE_DEVICE, 4000, "A connection to this device could not be established.", {}),
        ("com.apple.dt.RemotePairingError", 1001, "Timed out while attempting to establish tunnel", {}),
    )


def developer_mode_off():
    return Failure((CORE_DEVICE, 10004, "The operation failed because Developer Mode is disabled.", {}))


def image_not_mounted(is_locked):
    outer = (CORE_DEVICE, 12040, "The developer disk image could not be mounted on this device.", {})
    if not is_locked:
        return Failure(outer)
    inner = ("com.apple.mobiledevice", -402652958, "Failed to mount /private/var/tmp/CoreDevice_DDI_Staging_501"
             "/Restore/022-16019-313.dmg: 0xe80000e2 (kAMDMobileImageMounterDeviceLocked: The device is locked.)", {})
    return Failure(outer, inner)


def install(reason, bundle_id):
    outer = (CORE_DEVICE, 3002, "Failed to install the app on the device.", {})
    presentable, unable = "IXUserPresentableErrorDomain", "Unable to Install “EvalRunner”"
    if reason == "expired":
        why = f"Failed to install embedded profile for {bundle_id} : 0xe8008011 (This provisioning profile has expired.)"
        return Failure(outer, (presentable, 14, unable, {"NSLocalizedRecoverySuggestion": why}))
    if reason == "full":
        why = ("This app can’t be installed because there isn’t enough storage. Delete one or more apps, or "
               "manage your storage in Settings.")
        return Failure(outer, (presentable, 11, unable, {"NSLocalizedFailureReason": why}),
                       ("NSPOSIXErrorDomain", 28, "copyfile failed: No space left on device", {}))
    why = ("This device has reached the maximum number of installed apps using a free developer profile: "
           '{(\n    "ABCDE12345.com.me.one"\n)}')
    return Failure(outer, (presentable, 14, unable, {}),
                   ("MIInstallerErrorDomain", 13, why, {"LegacyErrorString": "ApplicationVerificationFailed"}))


def launch(reason, bundle_id):
    outer = (CORE_DEVICE, 10002, "The application failed to launch.", {"BundleIdentifier": bundle_id})
    if reason == "absent":
        why = f"The requested application {bundle_id} is not installed."
        more = {"NSLocalizedFailureReason": why, "NSLocalizedRecoverySuggestion": "Provide a valid bundle identifier."}
        return Failure((*outer[:3], {**outer[3], **more}),
                       ("NSOSStatusErrorDomain", -10814, "The operation couldn’t be completed.", {}))
    name, code, why = {
        "locked": ("Locked", 7, f"Unable to launch {bundle_id} because the device was not, or could not be, unlocked"),
        "untrusted": ("Security", 3, f"Unable to launch {bundle_id} because it has an invalid code signature, "
                      "inadequate entitlements or its profile has not been explicitly trusted by the user"),
    }[reason]
    denied = f'The request was denied by service delegate (SBMainWorkspace) for reason: {name} ("{why}").'
    more = {"NSLocalizedFailureReason": denied, "BSErrorCodeDescription": "RequestDenied"}
    inner = {"NSLocalizedFailureReason": f"{why}.", "BSErrorCodeDescription": name}
    return Failure(outer, (OPEN_SERVICE, 1, f'The request to open "{bundle_id}" failed.', more),
                   (OPEN, code, f"The operation couldn’t be completed. {why}.", inner))
