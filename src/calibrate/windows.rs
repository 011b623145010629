//! Calibration windows, divided into those to tune on and those held out.

/// One window in this many is held out, from coding as well as from tuning.
const HELD_OUT: usize = 8;

/// How many of `windows` windows codes are chosen and tuned on; the last ones are held out.
pub fn training_windows(windows: usize) -> usize {
    windows - windows / HELD_OUT
}
