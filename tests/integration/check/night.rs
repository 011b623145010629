//! What these tests stand on: runs of the demo in a folder of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use half::f16;
use serde_json::Value;

use crate::fixtures::run;

/// Windows of a run: few, but enough to tell.
const WINDOWS: &str = "16";
/// The recipe that is measured.
const RECIPE: &str = "palette4-g16-s";

/// A folder with runs, gone when dropped.
pub struct Nights {
    folder: tempfile::TempDir,
}

impl Nights {
    pub fn new() -> Nights {
        Nights { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program in this folder, as outside of GitHub.
    pub fn evalkit(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("evalkit"));
        command.current_dir(self.folder.path()).args(args);
        command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
        command
    }

    /// Runs the program, which must end with `code`.
    pub fn run(&self, args: &[&str], code: i32) -> Output {
        run(&mut self.evalkit(args), code)
    }

    /// Measures a night into the folder `name`, with more arguments.
    pub fn sweep(&self, name: &str, more: &[&str]) {
        let args = ["sweep", "--limit", WINDOWS, "--recipes", RECIPE, "--reports", name, "-q"];
        self.run(&[&args[..], more].concat(), 0);
    }

    /// Measures a night whose weights all decode to half of what they should.
    pub fn sweep_broken(&self, name: &str) {
        let file = "coded.safetensors";
        self.run(&["quantize", "--recipe", RECIPE, "-o", file], 0);
        halve_scales(&self.path(file));
        self.sweep(name, &["--coded", file]);
    }

    /// The folder of the only run of a night.
    pub fn only(&self, name: &str) -> PathBuf {
        std::fs::read_dir(self.path(name)).unwrap().next().unwrap().unwrap().path()
    }

    /// A check's JSON.
    pub fn check_json(&self, args: &[&str], code: i32) -> Value {
        let output = self.run(&[&["check", "--format", "json"], args].concat(), code);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A run of the same question with other lines of records.
    pub fn edited(&self, from: &str, name: &str, edit: impl Fn(&mut Vec<String>)) {
        let folder = self.path(name).join("run");
        std::fs::create_dir_all(&folder).unwrap();
        let text = std::fs::read_to_string(self.only(from).join("records.jsonl")).unwrap();
        let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
        edit(&mut lines);
        std::fs::write(folder.join("records.jsonl"), lines.concat()).unwrap();
    }
}

/// Every row of every table of a check's JSON.
pub fn rows(json: &Value) -> Vec<Value> {
    let tables = json["tables"].as_array().unwrap().iter();
    tables.flat_map(|table| table["rows"].as_array().unwrap().clone()).collect()
}

/// The verdict on a metric of a variant.
pub fn verdict<'a>(rows: &'a [Value], variant: &str, metric: &str) -> &'a str {
    let is_it = |row: &&Value| row["variant"] == variant && row["metric"] == metric;
    rows.iter().find(is_it).map_or("", |row| row["verdict"].as_str().unwrap())
}

/// Halves every scale of a file of coded weights, in place.
fn halve_scales(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let is_scale = |(name, _): &(&String, &Value)| name.ends_with(".channel_scales");
    let mut halved = 0;
    for (_, entry) in header.as_object().unwrap().iter().filter(is_scale) {
        let end = |at: usize| 8 + length + entry["data_offsets"][at].as_u64().unwrap() as usize;
        for value in bytes[end(0)..end(1)].chunks_exact_mut(2) {
            let scale = f16::from_le_bytes([value[0], value[1]]).to_f32();
            value.copy_from_slice(&f16::from_f32(scale / 2.0).to_le_bytes());
            halved += 1;
        }
    }
    assert!(halved > 1000, "only {halved} scales in {}", path.display());
    rehash(&mut bytes, 8 + length);
    std::fs::write(path, bytes).unwrap();
}

/// Gives a file of coded weights, whose header ends at `header_end`, the hash of its content, as a
/// faulty coder would.
fn rehash(bytes: &mut [u8], header_end: usize) {
    let key = b"\"content_hash\":\"";
    let at = bytes.windows(key.len()).position(|found| found == key).unwrap() + key.len();
    bytes[at..at + 64].fill(b'0');
    let mut hasher = blake3::Hasher::new();
    let hash = hasher.update(&bytes[header_end..]).update(&bytes[..header_end]).finalize();
    bytes[at..at + 64].copy_from_slice(hash.to_hex().as_bytes());
}
