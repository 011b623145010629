//! Records in memory, indexed by what they are about, without contradictions.
//!
//! The same record twice is harmless (two shards share their `Run`; a resumed run repeats the window
//! during which it was killed) and is kept once. Two different answers to one question are an error:
//! one of them is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::Cell;
use super::condensed::cell::Totals;
use super::environment::Environment;
use super::packaged::Packaged;
use super::record::{Done, Failure, Record, Run, Window};
use crate::error::{Error, Result};

/// A question that at most one record may answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Run,
    Cell(String),
    Window(String, usize),
    Done(String),
}

fn question(record: &Record) -> Option<Question> {
    match record {
        Record::Run(_) => Some(Question::Run),
        Record::Cell(cell) => Some(Question::Cell(cell.cell_id.clone())),
        Record::Window(w) => Some(Question::Window(w.cell_id.clone(), w.window)),
        Record::Done(done) => Some(Question::Done(done.cell_id.clone())),
        // A run may be resumed on another machine; a variant may fail several times, and be packaged
        // for several targets.
        Record::Environment(_) | Record::Failure(_) | Record::Packaged(_) => None,
    }
}

/// Records in their order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Index {
    records: Vec<Record>,
    answers: BTreeMap<Question, usize>,
    /// Positions of the records that answer no question: few, but searched often.
    others: Vec<usize>,
    /// What a condensed run keeps of the values per token, by variant.
    totals: BTreeMap<String, Totals>,
}

impl Index {
    /// Adds a record; `false` if it was already there.
    ///
    /// # Errors
    /// Another record answers the same question differently.
    pub fn insert(&mut self, record: Record) -> Result<bool> {
        match question(&record) {
            None if self.is_known(&record) => return Ok(false),
            None => self.others.push(self.records.len()),
            Some(question) => match self.answers.get(&question) {
                Some(&at) if self.records[at] == record => return Ok(false),
                Some(&at) => return Err(contradiction(&self.records[at], &record)),
                None => {
                    self.answers.insert(question, self.records.len());
                }
            },
        }
        self.records.push(record);
        Ok(true)
    }

    /// Adds what a condensed run keeps of a variant's values per token.
    pub(super) fn insert_totals(&mut self, cell_id: String, totals: Totals) {
        self.totals.insert(cell_id, totals);
    }

    /// What condensed runs keep of the values per token, by variant.
    pub(super) fn all_totals(&self) -> impl Iterator<Item = (&str, &Totals)> {
        self.totals.iter().map(|(cell_id, totals)| (cell_id.as_str(), totals))
    }

    /// What a condensed run keeps of a variant's values per token; `None` for a run whose windows
    /// hold those values.
    pub fn totals(&self, cell_id: &str) -> Option<&Totals> {
        self.totals.get(cell_id)
    }

    /// Whether `record` would be accepted and is new.
    ///
    /// # Errors
    /// As for [`insert`](Self::insert).
    pub fn is_new(&self, record: &Record) -> Result<bool> {
        match question(record).map(|question| self.answers.get(&question)) {
            None => Ok(!self.is_known(record)),
            Some(None) => Ok(true),
            Some(Some(&at)) if self.records[at] == *record => Ok(false),
            Some(Some(&at)) => Err(contradiction(&self.records[at], record)),
        }
    }

    /// Every record, in order of arrival.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Every record, in order of arrival, without the index.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// What was asked; `None` if the records do not say.
    pub fn run(&self) -> Option<&Run> {
        match self.answer(&Question::Run) {
            Some(Record::Run(run)) => Some(run),
            _ => None,
        }
    }

    /// Variants, in order of first appearance.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.records.iter().filter_map(|record| match record {
            Record::Cell(cell) => Some(cell),
            _ => None,
        })
    }

    /// The variant with this id.
    pub fn cell(&self, cell_id: &str) -> Option<&Cell> {
        match self.answer(&Question::Cell(cell_id.to_owned())) {
            Some(Record::Cell(cell)) => Some(cell),
            _ => None,
        }
    }

    /// A variant's scores on one window.
    pub fn window(&self, cell_id: &str, window: usize) -> Option<&Window> {
        match self.answer(&Question::Window(cell_id.to_owned(), window)) {
            Some(Record::Window(window)) => Some(window),
            _ => None,
        }
    }

    /// A variant's windows, by ascending index.
    pub fn windows_of(&self, cell_id: &str) -> Vec<&Window> {
        let first = Question::Window(cell_id.to_owned(), 0);
        let last = Question::Window(cell_id.to_owned(), usize::MAX);
        let found = self.answers.range(first..=last).map(|(_, &at)| &self.records[at]);
        let windows = found.filter_map(|record| match record {
            Record::Window(window) => Some(window),
            _ => None,
        });
        windows.collect()
    }

    /// The end of a variant; `None` if it is not finished.
    pub fn done(&self, cell_id: &str) -> Option<&Done> {
        match self.answer(&Question::Done(cell_id.to_owned())) {
            Some(Record::Done(done)) => Some(done),
            _ => None,
        }
    }

    /// Whether every window of a variant is scored, and its records hold all of them.
    pub fn is_done(&self, cell_id: &str) -> bool {
        self.done(cell_id).is_some() && self.lost(cell_id).is_none()
    }

    /// How the records of a variant contradict one another, in words: lines were lost or edited since.
    /// `None` if they agree, or if the variant is not finished.
    pub fn lost(&self, cell_id: &str) -> Option<String> {
        let windows = self.windows_of(cell_id);
        let done = self.done(cell_id);
        if self.cell(cell_id).is_none() {
            let is_there = done.is_some()
                || !windows.is_empty()
                || self.others().any(|one| is_packaged(one, cell_id));
            return is_there.then(|| {
                "its records lost the line \"cell\": windows, an end or packages are there without it"
                    .to_owned()
            });
        }
        let end = done?.windows;
        let found = windows.len();
        let gap = windows.iter().zip(0..).find(|(window, at)| window.window != *at);
        if found != end || gap.is_some() {
            let missing = gap.map_or(found, |(_, at)| at);
            let first = if missing < end {
                format!("; the first missing is {missing}")
            } else {
                String::new()
            };
            return Some(format!(
                "its records lost windows: {end} were scored, {found} are there{first}"
            ));
        }
        let run = self.run()?;
        if end != run.windows {
            let asked = run.windows;
            return Some(format!(
                "its end says that {end} windows were scored, the run has {asked}"
            ));
        }
        let tokens: usize = windows.iter().map(|window| window.scored_tokens).sum();
        let asked = run.scored_tokens;
        if tokens != asked {
            return Some(format!("its windows hold {tokens} scored tokens, the run has {asked}"));
        }
        self.other_text(&windows, run.text_bytes)
    }

    /// How the windows of a variant are not those of the run's text, in words: together they are longer
    /// than the text, or one is not as long as the reference's.
    fn other_text(&self, windows: &[&Window], text_bytes: u64) -> Option<String> {
        let bytes = windows.iter().fold(0_u64, |sum, one| sum.saturating_add(one.scored_bytes));
        if bytes > text_bytes {
            return Some(format!(
                "its windows hold {bytes} bytes of text, the run's text has {text_bytes}"
            ));
        }
        let reference = self.cells().find(|cell| cell.is_reference)?;
        windows.iter().find_map(|window| {
            let other = self.window(&reference.cell_id, window.window)?;
            let [own, theirs] =
                [*window, other].map(|one| (one.scored_tokens, one.scored_bytes));
            (own != theirs).then(|| {
                format!(
                    "its window {} holds {} scored tokens of {} bytes, that of the reference {} of {}",
                    window.window, own.0, own.1, theirs.0, theirs.1
                )
            })
        })
    }

    /// Ids of the variants of which there are windows, an end or packages, but no record of their own.
    pub fn without_cell(&self) -> Vec<&str> {
        let of_answers = self.answers.keys().filter_map(|question| match question {
            Question::Window(id, _) | Question::Done(id) => Some(id.as_str()),
            Question::Run | Question::Cell(_) => None,
        });
        let of_packages = self.others().filter_map(|record| match record {
            Record::Packaged(packaged) => Some(packaged.cell_id.as_str()),
            _ => None,
        });
        let ids: BTreeSet<&str> = of_answers.chain(of_packages).collect();
        ids.into_iter().filter(|id| self.cell(id).is_none()).collect()
    }

    /// Every variant that lost records, by label or else by id, and how.
    pub fn all_lost(&self) -> Vec<(String, String)> {
        let lost = |cell: &Cell| Some((cell.label(), self.lost(&cell.cell_id)?));
        let nameless = |id| Some((nameless(id), self.lost(id)?));
        let of_nameless = self.without_cell().into_iter().filter_map(nameless);
        self.cells().filter_map(lost).chain(of_nameless).collect()
    }

    /// Windows that are there and that were asked for, of the variant that has fewest among those that
    /// neither ended nor failed; `None` if there is none.
    pub fn unfinished(&self) -> Option<[usize; 2]> {
        let asked = self.run()?.windows;
        let is_open = |cell: &&Cell| {
            self.done(&cell.cell_id).is_none() && self.failure_of(&cell.cell_id).is_none()
        };
        let open = self.cells().filter(is_open);
        let least = open.map(|cell| self.windows_of(&cell.cell_id).len()).min()?;
        Some([least, asked])
    }

    /// A variant's latest packages for each design.
    pub fn packaged(&self, cell_id: &str) -> Vec<&Packaged> {
        let mut latest: BTreeMap<&str, &Packaged> = BTreeMap::new();
        for record in self.others() {
            if let Record::Packaged(packaged) = record
                && packaged.cell_id == cell_id
            {
                latest.insert(&packaged.design, packaged);
            }
        }
        latest.into_values().collect()
    }

    /// The latest failure of a variant that has not been finished since.
    pub fn failure_of(&self, cell_id: &str) -> Option<&Failure> {
        if self.done(cell_id).is_some() {
            return None;
        }
        self.others().rev().find_map(|record| match record {
            Record::Failure(failure) if failure.cell_id == cell_id => Some(failure),
            _ => None,
        })
    }

    /// The programs and machines that computed the records, each once.
    pub fn environments(&self) -> impl Iterator<Item = &Environment> {
        self.others().filter_map(|record| match record {
            Record::Environment(environment) => Some(environment),
            _ => None,
        })
    }

    /// Every failure, in order of arrival.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.others().filter_map(|record| match record {
            Record::Failure(failure) => Some(failure),
            _ => None,
        })
    }

    /// Records that answer no question, in order of arrival.
    fn others(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.others.iter().map(|&at| &self.records[at])
    }

    /// Whether a record that answers no question says nothing new. Of packages only the latest of a
    /// design count: those that are written again may be like those before the last ones.
    fn is_known(&self, record: &Record) -> bool {
        if let Record::Packaged(packaged) = record {
            return self.packaged(&packaged.cell_id).contains(&packaged);
        }
        self.others().any(|known| known == record)
    }

    fn answer(&self, question: &Question) -> Option<&Record> {
        self.answers.get(question).map(|&at| &self.records[at])
    }
}

fn is_packaged(record: &Record, cell_id: &str) -> bool {
    matches!(record, Record::Packaged(packaged) if packaged.cell_id == cell_id)
}

/// What a variant is called whose record was lost.
pub fn nameless(cell_id: &str) -> String {
    format!("variant {cell_id}")
}

fn contradiction(known: &Record, new: &Record) -> Error {
    match (known, new) {
        (Record::Run(known), Record::Run(new)) => {
            let what = format!("two different runs: {}", differences(known, new));
            Error::input(what).hint("give each run a folder of its own")
        }
        (Record::Window(known), _) => {
            let what = format!(
                "window {} of {} was measured before, with another result",
                known.window, known.cell_id
            );
            Error::input(what).hint("one of the two is wrong; measure again in an empty folder")
        }
        _ => {
            let id = known.cell_id().unwrap_or_default();
            let what = format!("two different records of one kind for variant {id}");
            Error::input(what).hint("measure again in an empty folder")
        }
    }
}

/// Names the fields in which two runs differ, with both values.
fn differences(known: &Run, new: &Run) -> String {
    let (known, new) = (serde_json::to_value(known), serde_json::to_value(new));
    let (Ok(serde_json::Value::Object(known)), Ok(serde_json::Value::Object(new))) = (known, new)
    else {
        return "they cannot be compared".to_owned();
    };
    let mut names: Vec<&String> = known.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let value = |run: &serde_json::Map<String, serde_json::Value>, name: &str| {
        run.get(name).map_or("absent".to_owned(), ToString::to_string)
    };
    let differing: Vec<String> = names
        .into_iter()
        .filter(|name| known.get(*name) != new.get(*name))
        .map(|name| format!("{name} was {} and is {}", value(&known, name), value(&new, name)))
        .collect();
    differing.join(", ")
}
