//! The connections that have not greeted yet. A local process that does not know the token can open as
//! many as it likes; they must not keep the owner out, so one that has sent nothing makes room, and the one
//! that has waited longest if all have sent something.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use rustix::io::ioctl_fionread;

use super::locks::lock;

/// How many connections may be in their handshake at once. Sessions do not count.
const MAX_GREETING: usize = 32;

/// The connections that have not greeted yet, the oldest first.
#[derive(Debug, Default)]
pub(super) struct GreetingQueue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    streams: VecDeque<(u64, TcpStream)>,
}

/// The place of a connection that has not greeted yet; it is free again when dropped.
#[derive(Debug)]
pub(super) struct GreetingPlace {
    queue: Arc<GreetingQueue>,
    number: u64,
}

impl GreetingQueue {
    /// Gives `stream` a place. If there is none left, a connection is closed: of those that have sent
    /// nothing, or else of all, the one that has waited longest.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn enter(self: &Arc<Self>, stream: &TcpStream) -> std::io::Result<GreetingPlace> {
        let stream = stream.try_clone()?;
        let mut waiting = lock(&self.0);
        while waiting.streams.len() >= MAX_GREETING {
            let silent = waiting.streams.iter().position(|(_, stream)| !has_sent(stream));
            if let Some((_, closed)) = waiting.streams.remove(silent.unwrap_or(0)) {
                // Its thread wakes up and ends. Failure means that the client has closed it already.
                let _ = closed.shutdown(Shutdown::Both);
            }
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.streams.push_back((number, stream));
        Ok(GreetingPlace { queue: Arc::clone(self), number })
    }
}

impl Drop for GreetingPlace {
    fn drop(&mut self) {
        lock(&self.queue.0).streams.retain(|(number, _)| *number != self.number);
    }
}

/// Whether bytes have come that were not read yet. A greeting is read and answered in less time than
/// others take to fill all places.
fn has_sent(stream: &TcpStream) -> bool {
    ioctl_fionread(stream).is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Waits until bytes have come over the connection of this place.
    fn await_bytes(place: &GreetingPlace) {
        let has_come = || {
            let waiting = lock(&place.queue.0);
            waiting.streams.iter().any(|(n, stream)| *n == place.number && has_sent(stream))
        };
        while !has_come() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_connection_that_waited_longest_in_silence_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let queue = Arc::new(GreetingQueue::default());
        let mut clients = Vec::new();
        let mut places = Vec::new();
        for _ in 0..MAX_GREETING {
            clients.push(TcpStream::connect(address).unwrap());
            places.push(queue.enter(&listener.accept().unwrap().0).unwrap());
        }
        // One has greeted, so that another can come without closing any.
        drop(places.remove(1));
        clients.push(TcpStream::connect(address).unwrap());
        places.push(queue.enter(&listener.accept().unwrap().0).unwrap());
        assert_eq!(lock(&queue.0).streams.len(), MAX_GREETING);
        clients.push(TcpStream::connect(address).unwrap());
        places.push(queue.enter(&listener.accept().unwrap().0).unwrap());
        assert_eq!(clients[0].read(&mut [0]).unwrap(), 0, "the oldest is closed");
        clients[2].write_all(b"hello").unwrap();
        // Of those that still wait, clients[2] is the oldest and clients[3] the next.
        await_bytes(&places[1]);
        clients.push(TcpStream::connect(address).unwrap());
        places.push(queue.enter(&listener.accept().unwrap().0).unwrap());
        assert_eq!(clients[3].read(&mut [0]).unwrap(), 0, "it has sent nothing");
        clients[2].set_nonblocking(true).unwrap();
        let still = clients[2].read(&mut [0]).unwrap_err();
        assert_eq!(still.kind(), std::io::ErrorKind::WouldBlock, "what was sent is yet to be read");
        drop(places);
        assert!(lock(&queue.0).streams.is_empty());
    }
}
