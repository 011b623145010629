//! Byte streams to runners: usbmux, TCP, a child process. They know nothing of the protocol.
//!
//! Every stream is a socket; a child's standard input and output are one end of a socket pair. So
//! every stream has timeouts and can be shut down from another thread.

pub mod child;
pub mod usbmux;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP, possibly to this machine.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
}

impl Socket {
    /// Connects to an address.
    ///
    /// # Errors
    /// The operating system's error for the last address of the host that was tried.
    pub fn tcp(host: &str, port: u16, timeout: Duration) -> io::Result<Socket> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    unless_closed(stream.set_nodelay(true))?;
                    return Ok(Socket::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Another handle to the same socket.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn try_clone(&self) -> io::Result<Socket> {
        match self {
            Socket::Tcp(stream) => stream.try_clone().map(Socket::Tcp),
            Socket::Unix(stream) => stream.try_clone().map(Socket::Unix),
        }
    }

    /// Sets how long a read waits before it fails with `WouldBlock` or `TimedOut`; at least 1 ms.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        unless_closed(match self {
            Socket::Tcp(stream) => stream.set_read_timeout(timeout),
            Socket::Unix(stream) => stream.set_read_timeout(timeout),
        })
    }

    /// Sets how long a write waits before it fails with `WouldBlock` or `TimedOut`; at least 1 ms.
    ///
    /// # Errors
    /// Errors of the operating system.
    pub fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        unless_closed(match self {
            Socket::Tcp(stream) => stream.set_write_timeout(timeout),
            Socket::Unix(stream) => stream.set_write_timeout(timeout),
        })
    }

    /// Shuts the stream down in both directions, which wakes every thread that waits on it.
    pub fn shut(&self) {
        // Failure means that the other side has shut it down already.
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Socket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(out),
            Socket::Unix(stream) => stream.read(out),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The result of setting an option of a socket; `Ok` if the connection is closed on both sides. macOS
/// answers EINVAL then. Nothing is lost without the option, since neither reading nor writing blocks
/// any more, and what the peer sent before it closed can still be read.
fn unless_closed(set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Whether an error means that a timeout expired.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_a_closed_socket_refuses_is_no_failure() {
        let refused = |errno: Errno| unless_closed(Err(errno.into()));
        refused(Errno::INVAL).unwrap();
        for errno in [Errno::BADF, Errno::NOTSOCK, Errno::DOM] {
            let error = refused(errno).unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(errno));
        }
        // The standard library's own error for a timeout of zero is a bug of ours, not a closed socket.
        unless_closed(Err(io::ErrorKind::InvalidInput.into())).unwrap_err();
    }

    #[test]
    fn what_a_peer_sent_before_it_closed_is_read_after_timeouts_are_set() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"refused").unwrap();
        drop(theirs);
        let mut socket = Socket::Unix(ours);
        socket.set_write_timeout(Duration::from_millis(5)).unwrap();
        socket.set_read_timeout(Duration::from_millis(5)).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        assert_eq!(text, "refused");
    }
}
