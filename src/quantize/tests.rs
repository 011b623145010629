//! Properties that hold across recipes: sizes, slices, round trips, refusals.
