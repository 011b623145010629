//! Addresses of a hub and of where it redirects to.

use std::fmt;

use ureq::http::uri::Authority;

use super::failure::quoted;
use crate::error::{Error, Result};

const MAX_ADDRESS_BYTES: usize = 8 << 10;

/// An `http` or `https` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    authority: Authority,
    /// From the first `/`, with the query.
    path: String,
}

/// Scheme, host and port: who answers at an address.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Address {
    /// `None` if this is not an absolute `http` or `https` address.
    pub fn new(text: &str) -> Option<Self> {
        let visible = text.len() <= MAX_ADDRESS_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        let (scheme, rest) = text.split_once("://").filter(|_| visible)?;
        let scheme =
            ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let authority: Authority = authority.parse().ok()?;
        let has_port = authority.as_str() != authority.host();
        let usable = !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && has_port == authority.port_u16().is_some();
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        usable.then_some(Address { scheme, authority, path })
    }

    /// The address that `HF_ENDPOINT` names.
    ///
    /// # Errors
    /// An input error.
    pub fn endpoint(text: &str) -> Result<Self> {
        let address = Address::new(text).filter(|address| !address.path.contains('?'));
        address.ok_or_else(|| {
            let found = quoted(text);
            Error::input(format!("HF_ENDPOINT: expected the address of a server, found {found}"))
                .hint("begin it with https:// or http://, for example https://huggingface.co")
        })
    }

    /// Who answers here.
    pub fn origin(&self) -> Origin {
        let usual = if self.scheme == "https" { 443 } else { 80 };
        Origin {
            scheme: self.scheme,
            host: self.authority.host().to_ascii_lowercase(),
            port: self.authority.port_u16().unwrap_or(usual),
        }
    }

    /// This address with `path` appended.
    pub fn below(&self, path: &str) -> Self {
        let path = format!("{}/{path}", self.path.trim_end_matches('/'));
        Address { path, ..self.clone() }
    }

    /// Where a redirect from this address leads.
    ///
    /// # Errors
    /// A surroundings error for another scheme and for what is no address.
    pub fn redirected(&self, location: &str) -> Result<Self> {
        let refused =
            |what: &str| Error::surroundings(format!("redirected to {}, {what}", quoted(location)));
        if location.is_empty() {
            return Err(refused("which is no address"));
        }
        let scheme = location.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        let absolute = match scheme {
            Some(scheme) if !scheme.eq_ignore_ascii_case(self.scheme) => {
                let what = format!("which is not {}, as the server's address", self.scheme);
                return Err(refused(&what).hint("see HF_ENDPOINT"));
            }
            Some(_) => location.to_owned(),
            None if location.starts_with("//") => format!("{}:{location}", self.scheme),
            None => {
                let path = self.path.split('?').next().unwrap_or_default();
                let kept = match location.as_bytes()[0] {
                    b'/' => "",
                    b'?' | b'#' => path,
                    _ => &path[..=path.rfind('/').unwrap_or(0)],
                };
                format!("{}://{}{kept}{location}", self.scheme, self.authority)
            }
        };
        Address::new(&absolute).ok_or_else(|| refused("which is no address"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_stays_with_its_scheme() {
        let from = Address::new("https://hub.co/a/b?c=1").unwrap();
        for (location, expected) in [
            ("/x", "https://hub.co/x"),
            ("?x=1", "https://hub.co/a/b?x=1"),
            ("x/y", "https://hub.co/a/x/y"),
            ("//cdn.co/x#y", "https://cdn.co/x"),
            ("HTTPS://cdn.co:8443/x?y=a:b", "https://cdn.co:8443/x?y=a:b"),
            ("https://cdn.co", "https://cdn.co/"),
        ] {
            assert_eq!(from.redirected(location).unwrap().to_string(), expected);
        }
        for location in [
            "",
            "http://hub.co/x",
            "file:///etc/passwd",
            "ftp://hub.co",
            "data:,x",
            "https://",
            "https:///x",
            "https://a@b/",
            "/x y",
            "/x\r\ny",
            "https://hub.co:99999/x",
            "//",
        ] {
            let error = from.redirected(location).unwrap_err();
            assert!(error.to_string().starts_with("redirected to "), "{location}: {error}");
            assert_eq!(error.exit().code(), 3);
        }
    }

    #[test]
    fn another_port_host_or_scheme_is_another_origin() {
        let origin = |text| Address::new(text).unwrap().origin();
        let own = origin("https://hub.co/a");
        assert!(own == origin("https://HUB.co:443/b") && own != origin("http://hub.co/a"));
        assert!(own != origin("https://hub.co:444/a") && own != origin("https://hub.co.evil.com/"));
        assert!(own != origin("https://xhub.co/"));
    }

    #[test]
    fn an_endpoint_without_scheme_says_so() {
        for text in ["huggingface.co", "127.0.0.1:80", "", "ftp://a", "https://a?b", "https://a b"]
        {
            let error = Address::endpoint(text).unwrap_err();
            assert_eq!(error.exit().code(), 2);
            assert!(error.to_string().contains("hint: begin it with https://"), "{error}");
        }
        let address = Address::endpoint("https://mirror.co/hf/").unwrap();
        assert_eq!(address.below("api/x").to_string(), "https://mirror.co/hf/api/x");
    }
}
