//! The devices that devicectl lists, merged with the phones that usbmuxd lists.
//!
//! devicectl's JSON has two spellings. Versions 2 to 4 (up to Xcode 26) have `hardwareProperties`,
//! `deviceProperties` and `connectionProperties`. Version 5 (Xcode 27) has `properties` beside them and
//! announces that the others will go. What one does not have is looked for in the other.

use serde_json::Value;

use super::device_error::DeviceError;
use crate::device::transport::usbmux::{Attached, is_same};

/// The first iOS on which the runner runs.
const OLDEST_IOS: u32 = 18;

/// A device of devicectl's list. Fields are `None` if the list does not have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedDevice {
    /// The UDID.
    pub udid: Option<String>,
    /// The name that its owner gave it.
    pub name: Option<String>,
    /// `iPhone14,2`.
    pub product_type: Option<String>,
    /// `26.1`.
    pub os: Option<String>,
    /// `iOS`, `iPadOS`.
    pub platform: Option<String>,
    /// `paired`, `unpaired`, `unsupported`.
    pub pairing: Option<String>,
    /// `connected`, `disconnected`, `unavailable`: the state of devicectl's tunnel, not the phone's.
    pub tunnel: Option<String>,
    /// `enabled`, `disabled`.
    pub developer_mode: Option<String>,
}

/// The phones and tablets in the `result` of a list: no simulators, watches or Macs.
pub fn listed(result: &Value) -> Vec<ListedDevice> {
    let all = result.get("devices").and_then(Value::as_array);
    let is_physical = |device: &&Value| {
        let paths = ["/hardwareProperties/reality", "/properties/hardware/reality"];
        text(device, &paths).is_none_or(|reality| reality == "physical")
    };
    let runs_the_app = |device: &ListedDevice| {
        device.platform.as_deref().is_none_or(|platform| matches!(platform, "iOS" | "iPadOS"))
    };
    all.into_iter().flatten().filter(is_physical).map(one).filter(runs_the_app).collect()
}

fn one(device: &Value) -> ListedDevice {
    let text = |old: &str, new: &str| text(device, &[old, new]);
    ListedDevice {
        udid: text("/hardwareProperties/udid", "/properties/hardware/udid"),
        name: text("/deviceProperties/name", "/properties/state/name"),
        product_type: text("/hardwareProperties/productType", "/properties/hardware/productType"),
        os: text(
            "/deviceProperties/osVersionNumber",
            "/properties/software/osVersionNumber/stringValue",
        )
        .or_else(|| components(device)),
        platform: text("/hardwareProperties/platform", "/properties/hardware/platform"),
        pairing: text("/connectionProperties/pairingState", "/properties/connection/pairingState"),
        tunnel: text("/connectionProperties/tunnelState", "/properties/connection/state"),
        developer_mode: text(
            "/deviceProperties/developerModeStatus",
            "/properties/state/developerModeStatus",
        ),
    }
}

/// The text at the first of these paths that has one. Version 5 writes a state as an object with one key,
/// such as `{"enabled": {"mode": 1}}`: its text is the key.
fn text(device: &Value, paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| match device.pointer(path)? {
        Value::String(text) => Some(text.clone()),
        Value::Object(state) if state.len() == 1 => state.keys().next().cloned(),
        _ => None,
    })
}

/// `18.7.8` of the components `[18, 7, 8, 0, 0]`.
fn components(device: &Value) -> Option<String> {
    let all = device.pointer("/properties/software/osVersionNumber/components")?.as_array()?;
    let mut parts: Vec<u64> = all.iter().map_while(Value::as_u64).collect();
    while parts.len() > 2 && parts.last() == Some(&0) {
        parts.pop();
    }
    let parts: Vec<String> = parts.iter().map(u64::to_string).collect();
    (!parts.is_empty()).then(|| parts.join("."))
}

impl ListedDevice {
    /// What keeps a runner from working on the device; `None` if the list shows no obstacle.
    pub fn device_error(&self) -> Option<DeviceError> {
        let major = self.os.as_deref().and_then(|os| os.split('.').next()?.parse::<u32>().ok());
        let is_old = major.is_some_and(|major| major < OLDEST_IOS);
        if self.pairing.as_deref() == Some("unsupported") || is_old {
            Some(DeviceError::UnsupportedOs)
        } else if self.pairing.as_deref() == Some("unpaired") {
            Some(DeviceError::NotTrusted)
        } else if self.developer_mode.as_deref() == Some("disabled") {
            Some(DeviceError::DeveloperModeOff)
        } else if self.tunnel.as_deref() == Some("unavailable") {
            Some(DeviceError::NotConnected)
        } else {
            None
        }
    }
}

/// A phone that usbmuxd or devicectl knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phone {
    /// Its UDID.
    pub udid: String,
    /// Whether usbmuxd lists it.
    pub is_attached: bool,
    /// The entry in devicectl's list, if there is one.
    pub listed: Option<ListedDevice>,
}

/// Merges both lists by UDID; the phones that usbmuxd lists come first.
pub fn merged(attached: &[Attached], listed: &[ListedDevice]) -> Vec<Phone> {
    let mut phones: Vec<Phone> = Vec::new();
    for Attached { udid, .. } in attached {
        if !phones.iter().any(|phone| is_same(&phone.udid, udid)) {
            phones.push(Phone { udid: udid.clone(), is_attached: true, listed: None });
        }
    }
    for one in listed {
        let Some(udid) = &one.udid else { continue };
        match phones.iter_mut().find(|phone| is_same(&phone.udid, udid)) {
            Some(phone) => phone.listed = Some(one.clone()),
            None => {
                let listed = Some(one.clone());
                phones.push(Phone { udid: udid.clone(), is_attached: false, listed });
            }
        }
    }
    phones
}
