//! `evalkit runner`: lets evalkit measure packages on this machine, as a phone does.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::args::parse_size;
use super::help;
use super::output;
use super::reporter::Reporter;
use crate::device::host::{Cpu, Host, HostOptions, serve_listener, serve_stdio};
use crate::device::protocol::message::TOKEN_VARIABLE;
use crate::device::protocol::token::Token;
use crate::error::{At, Error, Exit, Result};
use crate::files::cache_folder;

/// How the token is given.
const TOKEN_HELP: &str = "\
A runner needs a token that clients must know:
  export EVALKIT_RUNNER_TOKEN=$(openssl rand -hex 16)";

/// Arguments of `evalkit runner`.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("way").required(true).args(["stdio", "listen"])),
    after_long_help = help::after(
        &["evalkit runner --listen 127.0.0.1:0", "evalkit runner --stdio --store /tmp/runner"],
        &[TOKEN_HELP],
    )
)]
pub struct RunnerArgs {
    /// Speak the protocol on standard input and output
    ///
    /// Ends when input ends. evalkit starts the runner of this machine this way.
    #[arg(long)]
    stdio: bool,
    /// Listen on this address of this machine
    ///
    /// Port 0 takes a free one. The address is printed as a line of JSON.
    #[arg(long, value_name = "127.0.0.1:PORT")]
    listen: Option<SocketAddr>,
    /// Folder of packages and journal
    ///
    /// The default is evalkit/runner in $XDG_CACHE_HOME, or else in ~/.cache, on a Mac in
    /// ~/Library/Caches.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Maximum size of stored packages [default: 32GB]
    ///
    /// Such as 4GB; a number without a unit is bytes. The default is half of the disk if that is less, and
    /// a single package may exceed it. The least recently used packages are deleted first.
    #[arg(long, value_name = "SIZE", value_parser = parse_limit)]
    store_limit: Option<u64>,
    /// Mark all results as simulated
    ///
    /// For a runner that stands in for another device, such as a phone in a test.
    #[arg(long)]
    simulated: bool,
}

/// Runs the command.
///
/// # Errors
/// Input errors of token and address; surroundings of the store.
pub fn run(args: &RunnerArgs, reporter: &Reporter) -> Result<Exit> {
    let token = token()?;
    if let Some(address) = args.listen.filter(|address| address.ip() != Ipv4Addr::LOCALHOST) {
        return Err(Error::input(format!("expected 127.0.0.1, found {address}"))
            .at("--listen")
            .hint("listen on 127.0.0.1 and let ssh forward the port to other machines"));
    }
    if args.stdio && std::io::stdin().is_terminal() {
        return Err(Error::input("expected another program on standard input, found a terminal")
            .at("--stdio")
            .hint("--stdio is for evalkit itself; use --listen 127.0.0.1:0 from a shell"));
    }
    let store = match &args.store {
        Some(store) => store.clone(),
        None => default_store()?,
    };
    let options = HostOptions { store, limit_bytes: args.store_limit, token };
    let host = Host::open(options, Box::new(Cpu::new(args.simulated)))?;
    let Some(address) = args.listen else {
        return serve_stdio(&host).map(|()| Exit::Done);
    };
    let failed = |e| Error::surroundings(format!("cannot listen on {address}")).because(e);
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    reporter.say(format!("the runner listens on {address}; stop it with Ctrl-C"));
    output::data(format!("{}\n", serde_json::json!({ "listening": address })).as_bytes())?;
    serve_listener(&host, listener).map(|()| Exit::Done)
}

/// A size with its unit, or a plain number of bytes.
fn parse_limit(text: &str) -> Result<u64> {
    match text.parse().or_else(|_| parse_size(text))? {
        0 => Err(Error::input("expected room for at least one package, found a limit of 0 bytes")),
        limit => Ok(limit),
    }
}

fn token() -> Result<Token> {
    match std::env::var(TOKEN_VARIABLE) {
        Ok(text) => text.parse::<Token>().at(|| TOKEN_VARIABLE),
        Err(_) => Err(Error::input("a runner needs a token in this environment variable")
            .at(TOKEN_VARIABLE)
            .hint(format!("export {TOKEN_VARIABLE}=$(openssl rand -hex 16)"))),
    }
}

/// The folder of packages and journal without `--store`.
fn default_store() -> Result<PathBuf> {
    let cache = cache_folder().ok_or_else(|| {
        Error::input("there is no home folder to keep packages in").hint("name one with --store")
    })?;
    Ok(cache.join("evalkit").join("runner"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_size_or_a_plain_number_of_bytes() {
        assert_eq!(parse_limit("4GB").unwrap(), 4_000_000_000);
        assert_eq!(parse_limit("4096").unwrap(), 4096);
        for refused in ["many", "0", "00", "0GB", "-1"] {
            assert!(parse_limit(refused).is_err(), "{refused}");
        }
    }
}
