//! The secret between a runner and its client.

use std::hint::black_box;

use crate::device::protocol::message::TOKEN_VARIABLE;
use crate::error::{Error, Result};

const DIGITS: usize = 32;

/// 128 random bits as 32 hexadecimal digits; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; DIGITS]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads a token.
    ///
    /// # Errors
    /// Input: not 32 hexadecimal digits. The text is not repeated.
    pub fn parse(text: &str) -> Result<Token> {
        let digits: Option<[u8; DIGITS]> = text.as_bytes().try_into().ok();
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        digits.map(|digits| Token(digits.map(|digit| digit.to_ascii_lowercase()))).ok_or_else(
            || {
                let found = text.chars().count();
                Error::input(format!(
                    "expected {DIGITS} hexadecimal digits, found {found} characters"
                ))
                .at(TOKEN_VARIABLE)
                .hint(Self::hint())
            },
        )
    }

    /// How to make one.
    pub fn hint() -> String {
        format!("export {TOKEN_VARIABLE}=$(openssl rand -hex 16)")
    }

    /// Whether `text` is this token, in a time that does not tell how much of it is.
    pub fn is(&self, text: &str) -> bool {
        let text = text.as_bytes();
        if text.len() != DIGITS {
            return false;
        }
        let other = |(a, b): (&u8, &u8)| a ^ b.to_ascii_lowercase();
        // No early end, and none that the compiler could put in.
        self.0.iter().zip(text).map(other).fold(0, |sum, bits| black_box(sum | bits)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_32_digits_and_only_itself() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = Token::parse(text).unwrap();
        assert!(token.is(text) && token.is(&text.to_uppercase()));
        for at in 0..DIGITS {
            let mut other = text.as_bytes().to_vec();
            other[at] ^= 1;
            assert!(!token.is(std::str::from_utf8(&other).unwrap()), "digit {at}");
        }
        assert!(!token.is(""));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        for text in ["", "0123", "x123456789abcdef0123456789abcdef", &"0".repeat(33)] {
            let error = Token::parse(text).unwrap_err().to_string();
            assert!(error.contains("EVALKIT_RUNNER_TOKEN") && error.contains("openssl"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
