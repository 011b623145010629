//! When a device may be measured, and what disturbs a measurement. A figure that the system does not
//! report disturbs nothing; the record shows that it is missing.

use crate::results::runner::{Figures, Power, Thermal};

/// Why a measurement should not begin now; `None` if it may.
pub fn not_ready(now: &Figures) -> Option<String> {
    match now {
        Figures { thermal: Some(thermal), .. } if *thermal > Thermal::Nominal => {
            Some(format!("the thermal state is {}", name(*thermal)))
        }
        Figures { low_power: Some(true), .. } => Some("low-power mode is on".into()),
        Figures { foreground: Some(false), .. } => {
            Some("the runner app is not in the foreground".into())
        }
        _ => None,
    }
}

/// What disturbed a measurement between `before` and `after`; `None` if it counts.
pub fn disturbed(before: &Figures, during: &[Figures], after: &Figures) -> Option<String> {
    let mut seen = during.iter().chain([after]);
    seen.find_map(|now| {
        if let (Some(was), Some(is)) = (before.thermal, now.thermal)
            && is > was
        {
            return Some(format!("the thermal state rose from {} to {}", name(was), name(is)));
        }
        if now.low_power == Some(true) && before.low_power != Some(true) {
            return Some("low-power mode was switched on".into());
        }
        if let (Some(was), Some(is)) = (before.power, now.power)
            && is != was
        {
            let what = if is == Power::Plugged { "plugged in" } else { "unplugged" };
            return Some(format!("power was {what}"));
        }
        (now.foreground == Some(false)).then(|| "the app left the foreground".into())
    })
}

/// The state's name in the protocol.
fn name(thermal: Thermal) -> &'static str {
    match thermal {
        Thermal::Nominal => "nominal",
        Thermal::Fair => "fair",
        Thermal::Serious => "serious",
        Thermal::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Figures {
        Figures {
            thermal: Some(Thermal::Nominal),
            low_power: Some(false),
            power: Some(Power::Unplugged),
            foreground: Some(true),
            ..Figures::default()
        }
    }

    #[test]
    fn a_device_is_ready_if_it_is_cool_at_full_power_and_shows_the_app() {
        assert_eq!(not_ready(&calm()), None);
        assert_eq!(not_ready(&Figures::default()), None);
        let refused = [
            (Figures { thermal: Some(Thermal::Fair), ..calm() }, "the thermal state is fair"),
            (Figures { low_power: Some(true), ..calm() }, "low-power mode is on"),
            (
                Figures { foreground: Some(false), ..calm() },
                "the runner app is not in the foreground",
            ),
        ];
        for (figures, why) in refused {
            assert_eq!(not_ready(&figures).as_deref(), Some(why));
        }
    }

    #[test]
    fn heat_power_and_focus_that_change_disturb_a_repetition() {
        assert_eq!(disturbed(&calm(), &[calm()], &calm()), None);
        assert_eq!(
            disturbed(&Figures::default(), &[Figures::default()], &Figures::default()),
            None
        );
        let hot = Figures { thermal: Some(Thermal::Serious), ..calm() };
        let rose = "the thermal state rose from nominal to serious";
        assert_eq!(disturbed(&calm(), std::slice::from_ref(&hot), &calm()).as_deref(), Some(rose));
        assert_eq!(disturbed(&calm(), &[], &hot).as_deref(), Some(rose));
        assert_eq!(disturbed(&hot, &[calm()], &calm()), None, "cooling down disturbs nothing");
        let plugged = Figures { power: Some(Power::Plugged), ..calm() };
        assert_eq!(disturbed(&calm(), &[], &plugged).as_deref(), Some("power was plugged in"));
        assert_eq!(disturbed(&plugged, &[], &calm()).as_deref(), Some("power was unplugged"));
        let away = Figures { foreground: Some(false), ..calm() };
        assert_eq!(
            disturbed(&calm(), &[away], &calm()).as_deref(),
            Some("the app left the foreground")
        );
    }
}
