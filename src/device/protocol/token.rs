//! The secret between a runner and its client.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use super::message::TOKEN_VARIABLE;
use crate::error::{At, Error, Result};
use crate::units::hex;

const DIGITS: usize = 32;

/// 128 random bits as 32 lower-case hexadecimal digits. `Debug` does not print them.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Draws a new token at random.
    pub fn random() -> Token {
        Token(hex(&rand::random::<[u8; DIGITS / 2]>()))
    }

    /// The token in the environment; `None` if there is none.
    ///
    /// # Errors
    /// Input if it is not a token.
    pub fn of_environment() -> Result<Option<Token>> {
        let Some(text) = std::env::var_os(TOKEN_VARIABLE) else { return Ok(None) };
        text.to_string_lossy().parse().map(Some).at(|| TOKEN_VARIABLE)
    }

    /// The token's digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this token. The time it takes does not depend on how many digits match.
    pub fn is(&self, text: &str) -> bool {
        let other = |(a, b): (u8, u8)| a ^ b.to_ascii_lowercase();
        // `black_box` keeps the compiler from stopping at the first digit that differs.
        text.len() == DIGITS
            && self
                .0
                .bytes()
                .zip(text.bytes())
                .map(other)
                .fold(0, |sum, bits| black_box(sum | bits))
                == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl FromStr for Token {
    type Err = Error;

    /// Parses a token. The error does not repeat the text, which may be a mistyped secret.
    fn from_str(text: &str) -> Result<Token> {
        if text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Token(text.to_ascii_lowercase()));
        }
        let found = text.chars().count();
        let what =
            format!("expected a token of {DIGITS} hexadecimal digits, found {found} characters");
        Err(Error::input(what).hint(format!(
            "create a token and start the runner with it: export {TOKEN_VARIABLE}=$(openssl rand -hex 16)"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789ABCDEF0123456789abcdef";

    #[test]
    fn a_token_is_32_digits_and_only_itself() {
        let token: Token = TEXT.parse().unwrap();
        assert_eq!(token.as_str(), TEXT.to_lowercase());
        assert!(token.is(TEXT) && token.is(token.as_str()));
        for at in 0..DIGITS {
            let mut other = token.as_str().as_bytes().to_vec();
            other[at] ^= 1;
            assert!(!token.is(std::str::from_utf8(&other).unwrap()), "digit {at}");
        }
        assert!(!token.is(""));
        assert_ne!(Token::random(), Token::random());
    }

    #[test]
    fn debug_hides_the_token_and_errors_do_not_repeat_a_bad_one() {
        assert_eq!(format!("{:?}", TEXT.parse::<Token>().unwrap()), "Token(..)");
        for text in ["", "0123", "x123456789abcdef0123456789abcdef", &"0".repeat(33)] {
            let error = text.parse::<Token>().unwrap_err();
            assert!(error.advice().unwrap().contains("openssl"), "{error}");
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
    }
}
