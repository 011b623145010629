//! Which file of `src/` uses which other: `use` items and paths in the code, followed through
//! re-exports to the file that defines the name.
//!
//! Test code does not count, for a test may use whatever it needs. A re-export (`pub use`) counts
//! only if its own file uses the name too. Method calls need no import and do not count.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{code, files, is_word, without_tests};

/// The names of a path: `["crate", "units", "Bytes"]`.
pub type Names = Vec<String>;

/// One name that a file brings into scope; `*` for all names of `path`.
struct Import {
    path: Names,
    name: String,
    is_public: bool,
}

/// A file of `src/`, as far as imports are concerned.
struct Module {
    path: Names,
    imports: Vec<Import>,
    /// The code without its `use` items.
    body: String,
    children: BTreeSet<String>,
    /// The names of the items that this file defines.
    items: BTreeSet<String>,
}

/// All files of `src/` by path from the root.
pub struct Modules {
    files: BTreeMap<String, Module>,
    by_path: BTreeMap<Names, String>,
}

/// For each file, the other files that it uses.
pub type Uses = BTreeMap<String, BTreeSet<String>>;

fn names(path: &str) -> Names {
    path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// The parts of a list between commas that no braces enclose.
fn parts(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => (),
        }
    }
    parts.push(&list[start..]);
    parts
}

/// The paths of a `use` tree, and the name by which each is known.
fn tree(before: &[String], text: &str) -> Vec<(Names, String)> {
    if let Some((head, list)) = text.split_once('{') {
        let before = [before, &names(head)].concat();
        let list = list.trim_end().strip_suffix('}').unwrap_or(list);
        return parts(list).into_iter().flat_map(|part| tree(&before, part)).collect();
    }
    let (path, alias) = text.split_once(" as ").map_or((text, None), |(p, a)| (p, Some(a.trim())));
    let mut path = [before, &names(path)].concat();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let Some(last) = path.last().filter(|_| !text.trim().is_empty()) else { return Vec::new() };
    let name = alias.unwrap_or(last).to_owned();
    vec![(path, name)]
}

/// The position of `word` in `text` as a whole word, at `from` or later.
fn find_word(text: &str, word: &str, from: usize) -> Option<usize> {
    text[from..].match_indices(word).map(|(at, _)| from + at).find(|at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Takes the `use` items out of the code.
fn split_imports(code: &str) -> (Vec<Import>, String) {
    let (mut imports, mut body, mut from) = (Vec::new(), String::new(), 0);
    let mut next = 0;
    while let Some(at) = find_word(code, "use", next) {
        next = at + "use".len();
        // In a type, `use<'a>` lists what is captured.
        let is_item = code[next..].starts_with(char::is_whitespace);
        let Some(length) = code[at..].find(';').filter(|_| is_item) else { continue };
        let before = &code[from..at];
        let line = before.rsplit(['\n', ';', '}']).next().unwrap_or_default().trim();
        let is_public = line.starts_with("pub");
        body.push_str(before);
        let paths = tree(&[], &code[next..at + length]);
        imports.extend(paths.into_iter().map(|(path, name)| Import { path, name, is_public }));
        from = at + length + 1;
        next = from;
    }
    body.push_str(&code[from..]);
    (imports, body)
}

/// What no braces enclose.
fn outermost(body: &str) -> String {
    let mut depth = 0;
    let is_outer = |c: &char| {
        depth += i32::from(*c == '{') - i32::from(*c == '}');
        depth == 0
    };
    body.chars().filter(is_outer).collect()
}

/// The words that directly follow `keyword`, each with whether a `;` comes next.
fn words_after<'a>(code: &'a str, keyword: &str) -> Vec<(&'a str, bool)> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(at) = find_word(code, keyword, from) {
        from = at + keyword.len();
        let rest = code[from..].trim_start_matches(['!', ' ', '\n']);
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        found.push((&rest[..end], rest[end..].starts_with(';')));
    }
    found
}

/// Every path of two or more names in the code.
fn paths(body: &str) -> Vec<Names> {
    let is_part = |c: char| is_word(c) || c == ':';
    let runs = body.split(|c| !is_part(c)).filter(|run| run.contains("::"));
    runs.filter(|run| !run.starts_with(':')).map(names).filter(|path| path.len() > 1).collect()
}

impl Module {
    fn read(file: &str, text: &str) -> Module {
        let code = code(text);
        let (imports, body) = split_imports(without_tests(&code));
        let stem = file["src/".len()..].trim_end_matches(".rs");
        let mut path: Names = stem.split('/').map(str::to_owned).collect();
        if path.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            path.pop();
        }
        let outer = outermost(&body);
        let declared = words_after(&outer, "mod").into_iter().filter(|(_, is_file)| *is_file);
        let children = declared.map(|(name, _)| name.to_owned()).collect();
        let keywords =
            ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro_rules"];
        let items = keywords.iter().flat_map(|keyword| words_after(&outer, keyword));
        let items = items.map(|(name, _)| name.to_owned()).collect();
        Module { path, imports, body, children, items }
    }

    /// A path that this file writes, from the crate's root; `None` if it leads out of the crate.
    fn absolute(&self, path: &[String]) -> Option<Names> {
        let first = path.first()?.as_str();
        let ups = path.iter().take_while(|name| *name == "super").count();
        let (base, rest) = match first {
            "crate" => (&[][..], &path[1..]),
            "self" => (&self.path[..], &path[1..]),
            "super" => (&self.path[..self.path.len().checked_sub(ups)?], &path[ups..]),
            child if self.children.contains(child) => (&self.path[..], path),
            _ => return None,
        };
        Some([base, rest].concat())
    }
}

impl Modules {
    /// Reads `src/`.
    pub fn read() -> Modules {
        Modules::of(&files("src", &["rs"]))
    }

    fn of(files: &BTreeMap<String, String>) -> Modules {
        let modules = files.iter().filter(|(name, _)| *name != "src/main.rs");
        let files: BTreeMap<String, Module> =
            modules.map(|(name, text)| (name.clone(), Module::read(name, text))).collect();
        let by_path = files.iter().map(|(name, file)| (file.path.clone(), name.clone())).collect();
        Modules { files, by_path }
    }

    /// The file that defines the item at `path`; `None` if the path is a module's own.
    fn defining(&self, path: &[String], seen: &mut BTreeSet<Names>) -> Option<&String> {
        let depth = (0..=path.len()).rev().find(|n| self.by_path.contains_key(&path[..*n]))?;
        let file = &self.by_path[&path[..depth]];
        let name = path.get(depth)?;
        let module = &self.files[file];
        if module.items.contains(name) || !seen.insert(path[..=depth].to_vec()) {
            return Some(file);
        }
        for import in &module.imports {
            let is_all = import.name == "*";
            if import.name != *name && !is_all {
                continue;
            }
            let Some(mut target) = module.absolute(&import.path) else { continue };
            if is_all {
                target.pop();
                target.push(name.clone());
            }
            target.extend_from_slice(&path[depth + 1..]);
            let found = self.defining(&target, seen);
            if !is_all || found.is_some_and(|file| self.files[file].items.contains(name)) {
                return found;
            }
        }
        Some(file)
    }

    /// The paths from the root that a file uses, in imports and in its code.
    fn used(&self, module: &Module) -> Vec<Names> {
        let (mut used, mut known) = (Vec::new(), BTreeMap::new());
        for import in &module.imports {
            let Some(mut path) = module.absolute(&import.path) else { continue };
            if import.name == "*" {
                path.pop();
                used.push(path.clone());
                let words = module.body.split(|c| !is_word(c)).collect::<BTreeSet<_>>();
                let all = words.into_iter().map(|word| [&path[..], &[word.to_owned()]].concat());
                used.extend(all.filter(|path| {
                    let file = self.defining(path, &mut BTreeSet::new());
                    file.zip(path.last()).is_some_and(|(f, n)| self.files[f].items.contains(n))
                }));
                continue;
            }
            known.insert(import.name.clone(), path.clone());
            if !import.is_public || find_word(&module.body, &import.name, 0).is_some() {
                used.push(path);
            }
        }
        for path in paths(&module.body) {
            let imported = known.get(&path[0]).map(|known| [known, &path[1..]].concat());
            used.extend(module.absolute(&path).or(imported));
        }
        used
    }

    /// For each file, the files whose items it uses.
    pub fn uses(&self) -> Uses {
        let of = |(name, module): (&String, &Module)| {
            let used = self.used(module);
            let files = used.iter().filter_map(|path| self.defining(path, &mut BTreeSet::new()));
            (name.clone(), files.filter(|file| *file != name).cloned().collect())
        };
        self.files.iter().map(of).collect()
    }

    /// Whether `file` is in the folder of the module that `front` is.
    pub fn is_below(&self, file: &str, front: &str) -> bool {
        self.files[file].path.starts_with(&self.files[front].path)
    }
}

/// The first name of every path from the crate's root that the file at `name` uses, tests included.
pub fn rooms(name: &str, text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut module = Module::read(name, text);
    let (body, tests) = code.split_at(without_tests(&code).len());
    let mut found = BTreeSet::new();
    for part in [body, tests] {
        let (imports, body) = split_imports(part);
        let all = imports.into_iter().map(|import| import.path).chain(paths(&body));
        let all = all.filter_map(|path| module.absolute(&path));
        found.extend(all.filter_map(|path| path.first().cloned()));
        module.path.push("tests".into());
    }
    found
}

#[test]
fn names_are_followed_to_the_file_that_defines_them() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a/mod.rs", "pub use one::One; mod one; mod two; pub struct Own;"),
        ("src/a/one.rs", "use super::{Own, two::{self, Two as Other}}; pub struct One;"),
        (
            "src/a/two.rs",
            "pub struct Two; // crate::b::B\n#[cfg(test)] mod tests { use crate::b::B; }",
        ),
        ("src/b.rs", "use crate::a; fn b() { a::One; super::a::two::Two::new() }"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let uses = Modules::of(&BTreeMap::from(files)).uses();
    let uses_of = |file: &str| uses[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(uses_of("src/a/mod.rs"), [""; 0]);
    assert_eq!(uses_of("src/a/one.rs"), ["src/a/mod.rs", "src/a/two.rs"]);
    assert_eq!(uses_of("src/a/two.rs"), [""; 0]);
    assert_eq!(uses_of("src/b.rs"), ["src/a/one.rs", "src/a/two.rs"]);
}

#[test]
fn rooms_are_found_in_tests_too() {
    let text = "use super::super::report::{self, X}; fn f() { crate::units::f() }
        #[cfg(test)] mod tests { use super::*; use crate::cli; }";
    let found = rooms("src/eval/walk.rs", text);
    assert_eq!(found.iter().collect::<Vec<_>>(), ["cli", "eval", "report", "units"]);
}
