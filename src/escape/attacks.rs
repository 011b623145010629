//! Texts that try to be more than text in one of the outputs, for the tests of all outputs.

use super::is_hidden;

/// One text for each way that is known.
pub const ATTACKS: &[&str] = &[
    "\u{1b}[2J\u{1b}[31mgone",
    "\u{1b}]0;title\u{7}",
    "\u{9b}31mred",
    "\u{7f}\u{8}\u{0}",
    "a\r\u{1b}[Kb",
    "exe\u{202e}txt.\u{2066}x\u{2069}",
    "zero\u{200b}width\u{feff}\u{2060}",
    "line\u{2028}paragraph\u{2029}next\u{85}end",
    "tag\u{e0041}\u{fffe}",
    "\n::error::injected",
    "::stop-commands::x",
    "##[error]injected",
    "a%0A::error::b",
    "\nhint: rm -rf /",
    "=HYPERLINK(\"http://evil.example\")",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "[click](http://evil.example)",
    "![image](https://evil.example/x.png)",
    "[a]: http://evil.example",
    "[a][b] [^1]",
    "http://evil.example www.evil.example",
    "javascript://x%0Aalert(1)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title></svg><svg onload=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "' autofocus onfocus='alert(1)",
    "<!-- /evalkit -->",
    "a|b|c",
    "`code` *bold* _it_ ~~gone~~ $x$",
    "# heading",
    "> quote",
    "]]><x/>",
    "&lt;b&gt; &#x1b;",
    "{{ 7*7 }} {% raw %} {msg} {prefix}",
];

/// Whether the character at `at` has a backslash of its own before it.
fn is_escaped(text: &str, at: usize) -> bool {
    let slashes = text[..at].len() - text[..at].trim_end_matches('\\').len();
    slashes % 2 == 1
}

/// Fails if Markdown has a link, an image, HTML, code, emphasis or a hidden character.
pub fn assert_inert_markdown(text: &str) {
    assert!(!text.contains(|c| is_hidden(c) && c != '\n'), "{text:?}");
    for markup in ["](", "![", "][", "]:", "<", "://", "`", "*", "_", "$", "@", "www."] {
        for (at, found) in text.match_indices(markup) {
            let at_last =
                found.chars().next_back().map_or(at, |last| at + found.len() - last.len_utf8());
            let is_inert = is_escaped(text, at) || is_escaped(text, at_last);
            assert!(is_inert, "{markup} in {text:?}");
        }
    }
}

/// Fails if a line of a log is a command of GitHub Actions, or has a hidden character.
pub fn assert_inert_log(text: &str) {
    assert!(!text.contains(|c| is_hidden(c) && c != '\n'), "{text:?}");
    assert!(!text.contains("##["), "{text:?}");
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("::"), "{line:?}");
    }
}
