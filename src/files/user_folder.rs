//! Where the system keeps a user's caches and settings.

use std::path::PathBuf;

/// The folder for what can be made again; `None` if there is no home folder.
pub fn cache_folder() -> Option<PathBuf> {
    chosen(variable, "XDG_CACHE_HOME", [".cache", "Library/Caches"])
}

/// The folder for settings; `None` if there is no home folder.
pub fn settings_folder() -> Option<PathBuf> {
    chosen(variable, "XDG_CONFIG_HOME", [".config", "Library/Application Support"])
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder that the variable `own` names, or else the one that is usual in the home folder: the
/// second of `usual` on a Mac, the first elsewhere.
fn chosen(
    variable: impl Fn(&str) -> Option<PathBuf>,
    own: &str,
    usual: [&str; 2],
) -> Option<PathBuf> {
    let [usual, usual_on_a_mac] = usual;
    let usual = if cfg!(target_os = "macos") { usual_on_a_mac } else { usual };
    variable(own).or_else(|| Some(variable("HOME")?.join(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_comes_before_the_home_folder() {
        let find = |set: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| PathBuf::from(value))
            };
            chosen(variable, "XDG_CACHE_HOME", [".cache", "Library/Caches"])
        };
        let home = ("HOME", "/home/a");
        assert_eq!(find(&[home, ("XDG_CACHE_HOME", "/c")]), Some("/c".into()));
        let usual = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        assert_eq!(find(&[home]), Some(PathBuf::from("/home/a").join(usual)));
        assert_eq!(find(&[]), None);
    }
}
