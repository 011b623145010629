//! Why a request failed, and whether asking again may help.

use std::time::Duration;

use crate::error::{Error, Exit};

/// Longest part of a server's text that is repeated in a message, in characters.
const MAX_QUOTED_CHARS: usize = 100;

/// A failed request.
#[derive(Debug)]
pub struct Failure {
    /// What failed.
    pub error: Error,
    /// What may be done about it.
    pub then: Then,
}

/// What may be done about a failed request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Then {
    /// Nothing: the same request would fail again.
    GiveUp,
    /// The same request, after a time if the server named one.
    Retry(Option<Duration>),
    /// The whole file, after what has arrived of it was removed.
    StartOver,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, then: Then::GiveUp }
    }
}

impl Failure {
    /// A connection that failed or was too slow.
    pub fn connection(why: impl Into<String>) -> Self {
        let error = Error::surroundings(why).hint(
            "run the same command again: it continues where it stopped; HF_HUB_OFFLINE=1 uses only \
             the cache",
        );
        Failure { error, then: Then::Retry(None) }
    }

    /// Bytes that are not those of the file.
    pub fn damaged(why: impl Into<String>) -> Self {
        let error = Error::surroundings(why).hint(
            "what arrived was removed; if this happens again, the server or a proxy damages files",
        );
        Failure { error, then: Then::StartOver }
    }

    /// A reply that no hub would give.
    pub fn odd_reply(why: impl Into<String>) -> Self {
        let hint = "the server is not a Hugging Face hub, or something between it and this machine \
                    changes its replies; see HF_ENDPOINT and HTTPS_PROXY";
        Error::surroundings(why).hint(hint).into()
    }

    /// A reply with a status that is not a success. `wait` is what its `Retry-After` says.
    pub fn of_status(status: u16, wait: Option<&str>) -> Self {
        let give_up = |exit, what: &str, hint: &str| Failure {
            error: Error::new(exit, format!("{what} (status {status})")).hint(hint),
            then: Then::GiveUp,
        };
        match status {
            404 => give_up(
                Exit::Input,
                "there is no such repository, revision or file",
                "check the spelling of hf:owner/name@revision",
            ),
            401 | 403 => give_up(
                Exit::Surroundings,
                "the repository does not exist, is private, or requires you to accept a licence",
                "accept the licence on the repository's page, then set HF_TOKEN to a token that may \
                 read it",
            ),
            429 => {
                let wait: Option<u64> = wait.and_then(|text| text.trim().parse().ok());
                let time = wait.map_or("now".into(), |seconds| format!("{seconds} s"));
                let what = format!("the server answers no more requests for {time} (status 429)");
                let hint = "wait some minutes; with HF_TOKEN set, the hub allows more requests";
                let error = Error::surroundings(what).hint(hint);
                Failure { error, then: Then::Retry(wait.map(Duration::from_secs)) }
            }
            408 | 500..=599 => Failure {
                error: Failure::connection(format!("the server failed (status {status})")).error,
                then: Then::Retry(None),
            },
            _ => Failure::odd_reply(format!("expected a file, found status {status}")),
        }
    }

    /// The error of the library's request.
    pub fn of_request(cause: ureq::Error) -> Self {
        use std::io::ErrorKind::InvalidData;
        let hint = match &cause {
            ureq::Error::Timeout(_) => None,
            // A certificate that is not trusted arrives as invalid data.
            ureq::Error::Io(e) if e.kind() != InvalidData => None,
            ureq::Error::HostNotFound => {
                Some("check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 uses only the cache")
            }
            ureq::Error::Io(_) | ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Some(
                "if your network has its own certificates, name their PEM file in SSL_CERT_FILE",
            ),
            ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
                Some("see the variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
            }
            _ => Some("see HF_ENDPOINT and HTTPS_PROXY; HF_HUB_OFFLINE=1 uses only the cache"),
        };
        let error = Error::surroundings("the connection failed");
        match hint {
            Some(hint) => error.hint(hint).because(cause).into(),
            None => {
                let Failure { error, then } = Failure::connection("the connection failed");
                Failure { error: error.because(cause), then }
            }
        }
    }
}

/// A server's text for a message: short, and with control characters escaped.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(MAX_QUOTED_CHARS).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}
