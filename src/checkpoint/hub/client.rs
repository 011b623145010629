//! Requests to a hub: redirects, the token, and what the hub says about a file.
//!
//! The token goes to the origin of `HF_ENDPOINT` and nowhere else: not to where that redirects, and
//! not back from there. What is said about a file counts only if that origin says it.

use std::io::Read;
use std::time::Instant;

use ureq::http::{HeaderMap, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::address::Address;
use super::exchange::{Exchange, Request};
use super::failure::{Failure, quoted};
use super::limits::Limits;
use super::names::{Commit, Etag};
use super::server::Hub;
use super::watch::Watch;
use crate::error::{Error, Result};
use crate::files::open_regular;

const MAX_REDIRECTS: usize = 5;
const MAX_METADATA_BYTES: usize = 16 << 20;
const MAX_CERTIFICATES_BYTES: u64 = 16 << 20;
const MAX_TOKEN_BYTES: usize = 4 << 10;

/// A connection to a hub.
pub struct Client {
    agent: ureq::Agent,
    endpoint: Address,
    /// The value of the header `authorization`.
    authorization: Option<String>,
    pub(super) limits: Limits,
}

/// What the hub says about a file, before any of it is believed.
#[derive(Debug, Default)]
struct Said {
    etag: Option<String>,
    /// Whether the tag is that of the file, rather than of the reply.
    is_linked: bool,
    commit: Option<String>,
    size: Option<String>,
}

/// What the hub announces about a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Announced {
    /// The tag of its content.
    pub etag: Etag,
    /// Its length.
    pub size_bytes: u64,
}

/// A reply whose headers have arrived.
pub struct Reply {
    exchange: Exchange,
    said: Said,
    /// The status of the last redirect or of the reply.
    pub status: u16,
}

impl Client {
    /// A client for this hub. Nothing is sent yet.
    ///
    /// # Errors
    /// Input errors of the endpoint, the token and the certificates.
    pub fn new(hub: &Hub) -> Result<Self> {
        let endpoint = Address::endpoint(&hub.endpoint)?;
        let authorization = hub.token.as_deref().map(authorization).transpose()?;
        let limits = hub.limits.clone();
        let mut tls = TlsConfig::builder();
        if let Some(path) = &hub.certificates {
            tls = tls.root_certs(certificates(path)?);
        }
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(limits.connect))
            .timeout_connect(Some(limits.connect))
            .timeout_send_request(Some(limits.headers))
            .timeout_recv_response(Some(limits.headers))
            .timeout_per_read(Some(limits.headers.max(limits.stall)))
            .build();
        Ok(Client { agent: config.into(), endpoint, authorization, limits })
    }

    /// A file of the hub's programming interface, as a whole.
    ///
    /// # Errors
    /// Failed requests; a reply that is too long.
    pub fn metadata(&self, path: &str, watch: Watch<'_>) -> Result<Vec<u8>, Failure> {
        let end = Instant::now() + self.limits.metadata;
        let mut reply = self.get(path, None, false, watch)?;
        if reply.status != 200 {
            return Err(reply.refused());
        }
        reply.refuse_compressed()?;
        let mut body = Vec::new();
        while let Some(block) = reply.next(&self.limits, watch)? {
            if body.len() + block.len() > MAX_METADATA_BYTES {
                let what = "expected at most 16 MB about the repository, found more";
                return Err(Failure::odd_reply(what));
            }
            if Instant::now() > end {
                let what = format!("no whole reply within {} s", self.limits.metadata.as_secs());
                return Err(Failure::connection(what));
            }
            body.extend(block);
        }
        Ok(body)
    }

    /// What the hub announces about the file at `path`, which is of the commit `pinned`.
    ///
    /// # Errors
    /// Failed requests; a reply without tag, commit and length.
    pub fn announced(
        &self,
        path: &str,
        pinned: &Commit,
        watch: Watch<'_>,
    ) -> Result<Announced, Failure> {
        let reply = self.get(path, Some("bytes=0-0".into()), true, watch)?;
        if !matches!(reply.status, 200 | 206 | 301 | 302 | 303 | 307 | 308) {
            return Err(reply.refused());
        }
        let etag = reply.etag(pinned)?;
        let etag = etag.ok_or_else(|| {
            Failure::odd_reply("expected an ETag from the server of HF_ENDPOINT, found none")
        })?;
        let sizes = [reply.said.size.as_deref().map(number), reply.total_bytes()];
        let mut sizes = sizes.into_iter().flatten();
        let size_bytes = match (sizes.next(), sizes.next()) {
            (Some(Some(first)), None) => first,
            (Some(Some(first)), Some(Some(second))) if first == second => first,
            _ => return Err(Failure::odd_reply("expected the file's length, found none or two")),
        };
        Ok(Announced { etag, size_bytes })
    }

    /// The reply to a request for `path`, or, if `only_said`, the redirect that says all about a file.
    ///
    /// # Errors
    /// Failed requests; redirects to nowhere, without end or to another scheme.
    pub fn get(
        &self,
        path: &str,
        range: Option<String>,
        only_said: bool,
        watch: Watch<'_>,
    ) -> Result<Reply, Failure> {
        let mut address = self.endpoint.below(path);
        let mut said = Said::default();
        let mut is_own = true;
        for _ in 0..=MAX_REDIRECTS {
            let request = Request {
                address: address.to_string(),
                range: range.clone(),
                authorization: self.authorization.clone().filter(|_| is_own),
            };
            let exchange = Exchange::begin(&self.agent, request, &self.limits, watch)?;
            if is_own {
                said.add(&exchange.headers);
            }
            let status = exchange.status;
            let is_redirect = matches!(status, 301 | 302 | 303 | 307 | 308);
            if !is_redirect || (only_said && said.is_linked && said.size.is_some()) {
                return Ok(Reply { exchange, said, status });
            }
            let Some(location) = text(&exchange.headers, header::LOCATION.as_str()) else {
                return Err(Failure::odd_reply("redirected without a place to go to"));
            };
            address = address.redirected(&location)?;
            is_own &= address.origin() == self.endpoint.origin();
        }
        Err(Failure::odd_reply(format!("redirected more than {MAX_REDIRECTS} times")))
    }
}

impl Said {
    fn add(&mut self, headers: &HeaderMap) {
        if let Some(etag) = text(headers, "x-linked-etag") {
            (self.etag, self.is_linked) = (Some(etag), true);
        } else if let Some(etag) = text(headers, "etag").filter(|_| !self.is_linked) {
            self.etag = Some(etag);
        }
        self.commit = text(headers, "x-repo-commit").or(self.commit.take());
        self.size = text(headers, "x-linked-size").or(self.size.take());
    }
}

impl Reply {
    /// The file's tag, if the hub says one.
    ///
    /// # Errors
    /// A failure if the tag cannot be a file's name, or if the commit is not the pinned one.
    pub fn etag(&self, pinned: &Commit) -> Result<Option<Etag>, Failure> {
        if let Some(found) = self.said.commit.as_deref().filter(|found| *found != pinned.as_str()) {
            let expected = pinned.as_str();
            let found = quoted(found);
            return Err(Failure::odd_reply(format!("expected commit {expected}, found {found}")));
        }
        let Some(found) = self.said.etag.as_deref() else { return Ok(None) };
        Etag::new(found).map(Some).ok_or_else(|| {
            let found = quoted(found);
            Failure::odd_reply(format!("expected an ETag of letters and digits, found {found}"))
        })
    }

    /// The file's length by this reply: the inner `None` if it says something else than a number.
    fn total_bytes(&self) -> Option<Option<u64>> {
        let headers = &self.exchange.headers;
        match self.status {
            206 => Some(content_range(headers).map(|(_, total)| total)),
            200 => text(headers, "content-length").as_deref().map(number),
            _ => None,
        }
    }

    /// The first byte and the file's length in the header `Content-Range`.
    pub fn content_range(&self) -> Option<(u64, u64)> {
        content_range(&self.exchange.headers)
    }

    /// The failure that the status means.
    pub fn refused(&self) -> Failure {
        Failure::of_status(self.status, text(&self.exchange.headers, "retry-after").as_deref())
    }

    /// Fails if the body is compressed, which was not asked for.
    ///
    /// # Errors
    /// That failure.
    pub fn refuse_compressed(&self) -> Result<(), Failure> {
        match text(&self.exchange.headers, "content-encoding") {
            Some(found) if !found.eq_ignore_ascii_case("identity") => {
                let what = format!("expected plain bytes, found them coded as {}", quoted(&found));
                Err(Failure::odd_reply(what))
            }
            _ => Ok(()),
        }
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// A connection that failed, stalled or is too slow; interruption.
    pub fn next(&mut self, limits: &Limits, watch: Watch<'_>) -> Result<Option<Vec<u8>>, Failure> {
        self.exchange.next(limits, watch)
    }
}

/// A header's value, if it has one and it is text.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// A length of decimal digits.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `bytes FIRST-LAST/TOTAL`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let range = text(headers, "content-range")?;
    let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((number(range.split_once('-')?.0)?, number(total)?))
}

/// The header that shows the token. A token with control characters would be more than one header.
fn authorization(token: &str) -> Result<String> {
    let token = token.trim();
    if !token.is_empty()
        && token.len() <= MAX_TOKEN_BYTES
        && token.bytes().all(|b| b.is_ascii_graphic())
    {
        return Ok(format!("Bearer {token}"));
    }
    Err(Error::input("the token for the hub has characters that no token has")
        .hint("set HF_TOKEN to the token alone: letters, digits and `_`"))
}

/// The certificates in a PEM file.
fn certificates(path: &std::path::Path) -> Result<RootCerts> {
    let unreadable = |e| Error::io("read the certificates of SSL_CERT_FILE", path, e);
    let (file, _) = open_regular("read the certificates of SSL_CERT_FILE", path)?;
    let mut bytes = Vec::new();
    file.take(MAX_CERTIFICATES_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    let found: Vec<Certificate<'static>> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(Error::input("expected certificates in PEM form, found none")
            .at(path.display())
            .hint("SSL_CERT_FILE names this file; unset it to use the certificates of Mozilla"));
    }
    Ok(RootCerts::Specific(std::sync::Arc::new(found)))
}
