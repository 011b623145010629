//! The devices that devicectl lists, merged with the phones that usbmuxd lists.

use serde_json::Value;

use super::device_error::DeviceError;
use crate::device::transport::usbmux::{Attached, is_same};

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

/// The devices in the `result` of a list, without simulators.
pub fn listed(result: &Value) -> Vec<ListedDevice> {
    let all = result.get("devices").and_then(Value::as_array);
    let is_physical = |device: &&Value| {
        let reality = device.pointer("/hardwareProperties/reality").and_then(Value::as_str);
        reality.is_none_or(|reality| reality == "physical")
    };
    all.into_iter().flatten().filter(is_physical).map(one).collect()
}

fn one(device: &Value) -> ListedDevice {
    let text = |pointer: &str| device.pointer(pointer)?.as_str().map(str::to_owned);
    ListedDevice {
        udid: text("/hardwareProperties/udid"),
        name: text("/deviceProperties/name"),
        product_type: text("/hardwareProperties/productType"),
        os: text("/deviceProperties/osVersionNumber"),
        platform: text("/hardwareProperties/platform"),
        pairing: text("/connectionProperties/pairingState"),
        tunnel: text("/connectionProperties/tunnelState"),
        developer_mode: text("/deviceProperties/developerModeStatus"),
    }
}

impl ListedDevice {
    /// What keeps a runner from working on the device; `None` if the list shows no obstacle.
    pub fn device_error(&self) -> Option<DeviceError> {
        let major = self.os.as_deref().and_then(|os| os.split('.').next()?.parse::<u32>().ok());
        if self.pairing.as_deref() == Some("unsupported") || major.is_some_and(|major| major < 17) {
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
