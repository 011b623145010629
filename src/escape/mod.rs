//! Text of strangers (names of tensors, models, devices and files, tokens, what servers say) as each
//! output can show it, so that it is neither markup nor a command there. One function for each output.
//!
//! Who writes calls these functions last: [`Error`](crate::error::Error) when it is displayed, the
//! renderers of [`report`](crate::report) on every text, the command line on every message.

#[cfg(test)]
pub mod attacks;
mod markdown;

use std::borrow::Cow;
use std::fmt::Write;

pub use markdown::{markdown, markdown_paragraph};

/// Whether a character is invisible or changes how its neighbours are shown: control characters, the
/// order of writing, line and paragraph separators, zero width, tags, and code points that are none.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || u32::from(c) & 0xfffe == 0xfffe
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Replaces each character that `is_wanted` by what `write` makes of it.
fn replaced(
    text: &str,
    is_wanted: impl Fn(char) -> bool,
    write: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&is_wanted) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_wanted(c) { write(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// A hidden character as `\n`, `\r`, `\t` or `\u{1b}`.
fn named(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ => {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
}

/// One line for a terminal or a message: every hidden character is written out.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, named)
}

/// Words that begin a line of this program's own.
const OWN_WORDS: [&str; 3] = ["error:", "hint:", "warning:"];

/// The cause of an error, which may have several lines, such as one with a quoted line of a file. A line
/// feed stays, unless the next line would read as one of this program's or as a command.
pub fn cause(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (at, part) in text.split('\n').enumerate() {
        let part = line(part.strip_suffix('\r').unwrap_or(part));
        if at > 0 {
            let start = part.trim_start().to_ascii_lowercase();
            let is_own = OWN_WORDS.iter().any(|word| start.starts_with(word));
            out.push_str(if is_own || start.starts_with("::") { "\\n" } else { "\n" });
        }
        out.push_str(&part);
    }
    Cow::Owned(out)
}

/// Whole lines for a terminal or a log: hidden characters besides line feeds are written out, and
/// nothing is a command of GitHub Actions (`::error::` at the start of a line, `##[error]` anywhere).
pub fn log(text: &str) -> Cow<'_, str> {
    let shown = replaced(text, |c| is_hidden(c) && c != '\n', named);
    let is_command = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
    if !shown.split('\n').any(is_command) {
        return shown;
    }
    let inert = |line: &str| {
        let line = line.replace("##[", "##\\u{5b}");
        match line.trim_start().strip_prefix("::") {
            Some(rest) => format!("{}\\u{{3a}}:{rest}", &line[..line.len() - rest.len() - 2]),
            None => line,
        }
    };
    Cow::Owned(shown.split('\n').map(inert).collect::<Vec<_>>().join("\n"))
}

/// Text between tags of HTML or SVG, or in a quoted attribute.
pub fn html(text: &str) -> Cow<'_, str> {
    let is_wanted = |c| is_hidden(c) || matches!(c, '&' | '<' | '>' | '"' | '\'' | '`');
    replaced(text, is_wanted, |out, c| match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#x27;"),
        '`' => out.push_str("&#x60;"),
        _ => named(out, c),
    })
}

/// Text for a writer of XML that escapes markup itself. XML has no control characters at all.
pub fn xml(text: &str) -> Cow<'_, str> {
    line(text)
}

/// JSON that is written: hidden characters, which only strings have, as `\u001b`. The data is the same.
pub fn json(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| is_hidden(c) && c != '\n',
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// A cell of text in CSV: a spreadsheet would compute a cell that begins like a formula, so such a text
/// begins with an apostrophe. A number stays a number.
pub fn csv(text: &str) -> Cow<'_, str> {
    let text = line(text);
    let start = text.trim_start();
    let is_formula =
        start.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) || start.starts_with("::");
    if is_formula && text.parse::<f64>().is_err() { Cow::Owned(format!("'{text}")) } else { text }
}

/// The message of a workflow command of GitHub, after its last `::`.
pub fn github(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| is_hidden(c) || c == '%',
        |out, c| match c {
            '%' => out.push_str("%25"),
            '\r' => out.push_str("%0D"),
            '\n' => out.push_str("%0A"),
            _ => named(out, c),
        },
    )
}

/// A property of a workflow command of GitHub, such as its title.
pub fn github_property(text: &str) -> String {
    github(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_written_out() {
        assert_eq!(
            line("a\u{1b}[2Jb\u{202e}c\u{9b}\u{200b}\n"),
            "a\\u{1b}[2Jb\\u{202e}c\\u{9b}\\u{200b}\\n"
        );
        assert_eq!(line("größer 模型 🙂 e\u{301}"), "größer 模型 🙂 e\u{301}");
        assert_eq!(line(&line("\u{7f}\t")), "\\u{7f}\\t");
    }

    #[test]
    fn a_cause_keeps_its_lines_and_cannot_speak_for_the_program() {
        let toml = "at line 1\n  |\n1 | a = \u{1b}\n  |     ^\n";
        assert_eq!(cause(toml), "at line 1\n  |\n1 | a = \\u{1b}\n  |     ^\n");
        assert_eq!(cause("x\r\nHint: run this\n ::error::y"), "x\\nHint: run this\\n ::error::y");
    }

    #[test]
    fn no_line_of_a_log_is_a_command() {
        assert_eq!(log("a\n  ::error::b\n##[group]c"), "a\n  \\u{3a}:error::b\n##\\u{5b}group]c");
        assert_eq!(log("a::b\nc"), "a::b\nc");
    }

    #[test]
    fn a_formula_is_text_and_a_number_is_a_number() {
        assert_eq!(csv("=1+1"), "'=1+1");
        assert_eq!(csv("  @SUM(A1)"), "'  @SUM(A1)");
        assert_eq!(csv("\t=1"), "\\t=1");
        for same in ["-1.5", "+2e3", "palette4-g16-s", "a=b", ""] {
            assert_eq!(csv(same), same);
        }
    }

    #[test]
    fn json_is_the_same_data() {
        let text = "a\u{1b}\u{7f}\u{202e}\u{e0041}\n";
        let written = serde_json::to_string_pretty(&[text]).unwrap();
        let escaped = json(&written);
        assert!(!escaped.contains(|c| is_hidden(c) && c != '\n'), "{escaped}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&escaped).unwrap(), [text]);
    }

    #[test]
    fn what_github_takes_for_syntax_is_escaped() {
        assert_eq!(github("1 %\n::error::\u{1b}"), "1 %25%0A::error::\\u{1b}");
        assert_eq!(github_property("a: b, c"), "a%3A b%2C c");
    }

    #[test]
    fn no_attack_is_left_in_any_output() {
        for attack in attacks::ATTACKS {
            let wrapped = format!("name {attack}");
            for text in [*attack, &wrapped] {
                let outputs = [line(text), html(text), xml(text), csv(text), github(text)];
                for output in outputs.into_iter().chain([Cow::Owned(markdown(text))]) {
                    assert!(!output.contains(is_hidden), "{output:?}");
                }
                assert!(!html(text).contains(['<', '>', '"', '\'']), "{text:?}");
                attacks::assert_inert_markdown(&markdown(text));
                attacks::assert_inert_log(&log(text));
            }
        }
    }
}
