//! Whether a model fits a device, and how fast it can be at most, predicted from the table alone.

use super::{Device, MemoryLimit};

/// Memory that an app needs in addition to weights and cache: for itself, the runtime, activations and
/// logits. This is assumed, not measured.
pub const OVERHEAD_BYTES: u64 = 300_000_000;
/// A model that needs more than this share of the limit fits tightly.
const TIGHT: f64 = 0.9;

/// What a model needs of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of all its weights.
    pub weights_bytes: u64,
    /// Bytes of its cache at full context.
    pub cache_bytes: u64,
    /// Bytes of weights that decoding one token reads.
    pub read_bytes: u64,
}

/// Memory and speed of a model on a device. Every number is predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The sum of weights, cache and [`OVERHEAD_BYTES`].
    pub need_bytes: u64,
    /// The fit of an app without entitlements.
    pub default: Fit,
    /// The fit with the entitlement for an increased limit.
    pub entitled: Fit,
    /// The most tokens per second that the memory's bandwidth allows with an empty cache; `None` if the
    /// bandwidth is not known.
    pub ceiling_per_s: Option<f64>,
    /// The same with a full cache.
    pub ceiling_full_per_s: Option<f64>,
}

/// A memory limit, and whether the model fits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// The estimated limit; `None` if it is unknown.
    pub limit_bytes: Option<u64>,
    /// Whether the model fits.
    pub verdict: Verdict,
}

/// Whether a model fits a memory limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It fits with room to spare.
    Fits,
    /// It fits with less than a tenth of the limit to spare.
    Tight,
    /// It needs more than the limit.
    TooLarge,
    /// The limit is unknown.
    Unknown,
}

impl Verdict {
    /// The verdict in words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Fits => "predicted to fit",
            Verdict::Tight => "predicted to fit barely",
            Verdict::TooLarge => "predicted not to fit",
            Verdict::Unknown => "unknown",
        }
    }
}

/// Predicts memory and speed of a model on a device with this limit.
pub fn predict(device: &Device, limit: Option<&MemoryLimit>, demand: Demand) -> Prediction {
    let Demand { weights_bytes, cache_bytes, read_bytes } = demand;
    let need_bytes = weights_bytes.saturating_add(cache_bytes).saturating_add(OVERHEAD_BYTES);
    let fit = |limit_bytes: Option<u64>| {
        let verdict = match limit_bytes {
            None => Verdict::Unknown,
            Some(limit) if need_bytes > limit => Verdict::TooLarge,
            Some(limit) if need_bytes as f64 > TIGHT * limit as f64 => Verdict::Tight,
            Some(_) => Verdict::Fits,
        };
        Fit { limit_bytes, verdict }
    };
    let ceiling = |bytes: u64| {
        let gbps = device.memory_bandwidth_gbps?;
        (bytes > 0).then(|| gbps * 1e9 / bytes as f64)
    };
    Prediction {
        need_bytes,
        default: fit(limit.and_then(|limit| limit.default_bytes)),
        entitled: fit(limit.and_then(|limit| limit.entitled_bytes)),
        ceiling_per_s: ceiling(read_bytes),
        ceiling_full_per_s: ceiling(read_bytes.saturating_add(cache_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::devices;
    use super::*;

    fn on(name: &str, demand: Demand) -> Prediction {
        let device = devices().find(name).unwrap();
        predict(device, devices().memory_limit(device).as_ref(), demand)
    }

    /// gpt-oss 20b at 2 bits, as claimed: 24 layers, 8 heads of 64 channels, 4,096 tokens.
    const GPT_OSS: Demand = Demand {
        weights_bytes: 5_250_000_000,
        cache_bytes: 2 * 2 * 24 * 8 * 64 * 4096,
        read_bytes: 1_000_000_000,
    };

    #[test]
    fn gpt_oss_at_2_bits_is_predicted_to_fit_8_gb_with_the_entitlement_alone_and_never_6_gb() {
        let small = on("iPhone14,2", GPT_OSS);
        assert_eq!(small.need_bytes, 5_250_000_000 + 201_326_592 + OVERHEAD_BYTES);
        assert_eq!(small.default.verdict, Verdict::TooLarge);
        assert_eq!(small.entitled.verdict, Verdict::TooLarge);
        let large = on("iPhone 15 Pro", GPT_OSS);
        assert_eq!(large.default.verdict, Verdict::TooLarge);
        assert_eq!(large.entitled, Fit { limit_bytes: Some(6 << 30), verdict: Verdict::Fits });
    }

    #[test]
    fn a_ceiling_is_bandwidth_over_bytes_and_none_if_the_bandwidth_is_unknown() {
        let found = on("iPhone14,2", GPT_OSS);
        assert_eq!(found.ceiling_per_s, Some(34.1));
        assert!(found.ceiling_full_per_s.unwrap() < 34.1);
        let unknown = on("iPhone Duo", GPT_OSS);
        assert_eq!((unknown.ceiling_per_s, unknown.entitled.verdict), (None, Verdict::Unknown));
        let tight = Demand { weights_bytes: 5_700_000_000, ..GPT_OSS };
        assert_eq!(on("iPhone 15 Pro", tight).entitled.verdict, Verdict::Tight);
    }
}
