//! Text in GitHub-flavoured Markdown, as a README, a pull request or a step's summary shows it.

/// What makes a link, an image, a footnote or a definition of brackets.
const LINKS: [&str; 6] = ["](", "][", "]:", "![", "[^", "[["];

/// Text within a line: in a cell, in a heading, after the mark of a list. Line breaks become spaces.
pub fn markdown(text: &str) -> String {
    let text = text.replace("\r\n", " ").replace(['\n', '\r', '\t'], " ");
    let text = super::line(&text);
    // Brackets alone are common, as in `12.3 [11.9, 12.6]`, and do nothing.
    let has_links = LINKS.iter().any(|link| text.contains(link));
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let (before, rest) = (&text[..at], &text[at..]);
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '|' | '*' | '_' | '`' | '\\' | '~' | '$' | '@' => escaped.extend(['\\', c]),
            '[' | ']' if has_links => escaped.extend(['\\', c]),
            '(' if before.ends_with(']') => escaped.extend(['\\', c]),
            '!' if rest.starts_with("![") => escaped.extend(['\\', c]),
            // A command to a CI system's log.
            '[' if before.ends_with("##") => escaped.extend(['\\', c]),
            ':' if rest.starts_with("://") => escaped.extend(['\\', c]),
            '.' if is_web(before) => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Whether a text ends in the `www` of an address.
fn is_web(before: &str) -> bool {
    let start = before.len().saturating_sub(3);
    before.get(start..).is_some_and(|end| end.eq_ignore_ascii_case("www"))
}

/// Text that is a paragraph of its own: its start is no heading, list, quote or rule.
pub fn markdown_paragraph(text: &str) -> String {
    let escaped = markdown(text.trim_start());
    let digits = escaped.len() - escaped.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = &escaped[digits..];
    let is_item = rest.starts_with(". ") || rest.starts_with(") ");
    if digits > 0 && is_item {
        return format!("{}\\{rest}", &escaped[..digits]);
    }
    if escaped.starts_with(['#', '+', '-', '=', ':']) {
        return format!("\\{escaped}");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_not_become_markup() {
        assert_eq!(markdown("a|b\n<i>*x*"), "a\\|b &lt;i&gt;\\*x\\*");
        assert_eq!(markdown("![x](http://y)"), "\\!\\[x\\]\\(http\\://y)");
        assert_eq!(markdown("see WWW.evil.example or @all"), "see WWW\\.evil.example or \\@all");
    }

    #[test]
    fn what_is_no_markup_stays_as_it_is() {
        for same in ["12.3 [11.9, 12.6] %", "weights (fp16): 4!", "a - b + c = d #1", "1.5"] {
            assert_eq!(markdown(same), same);
        }
        assert_eq!(markdown_paragraph("[ ] are 95 % intervals"), "[ ] are 95 % intervals");
    }

    #[test]
    fn a_paragraph_starts_no_block() {
        for (text, expected) in [
            ("# a", "\\# a"),
            ("  - a", "\\- a"),
            ("> a", "&gt; a"),
            ("12. a", "12\\. a"),
            ("1.5 a", "1.5 a"),
            ("::error::a", "\\::error::a"),
            ("[a]: http://b", "\\[a\\]: http\\://b"),
        ] {
            assert_eq!(markdown_paragraph(text), expected);
        }
    }
}
