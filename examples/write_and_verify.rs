//! Writes a model as Core ML packages under one recipe, and proves that they compute the same model.
//!
//! ```sh
//! cargo run --release --example write_and_verify                    # the built-in demo, palette4-g16-s
//! cargo run --release --example write_and_verify -- model.gguf palette2-g16-s
//! ```
#![allow(clippy::print_stdout, reason = "an example prints its results")]

use evalkit::{PackageOptions, Result, Silent, package, verify};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "demo".to_owned());
    let recipe = arguments.next().unwrap_or_else(|| "palette4-g16-s".to_owned());

    let folder = std::env::temp_dir().join(format!("evalkit-packages-{}", std::process::id()));
    let size_bytes = package(&model, &recipe, &PackageOptions::default(), &folder, &Silent)?;
    println!("{}: {size_bytes} bytes", folder.display());

    let links = verify(&folder, &model, 16, &Silent)?;
    for link in &links {
        let answer = if link.holds { "holds" } else { "is broken" };
        println!("{}: {answer}: {}", link.name, link.what);
    }
    std::fs::remove_dir_all(&folder).ok();
    let proven = links.iter().all(|link| link.holds);
    println!("{}", if proven { "the packages are the model" } else { "the packages differ" });
    Ok(())
}
