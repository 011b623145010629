//! The connections that have not greeted yet. A local process that does not know the token can open as
//! many as it likes; they must not keep the owner out, so the one that has waited longest makes room.

use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

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
    /// Gives `stream` a place. If there is none left, the connection that has waited longest is closed.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn enter(self: &Arc<Self>, stream: &TcpStream) -> std::io::Result<GreetingPlace> {
        let stream = stream.try_clone()?;
        let mut waiting = lock(&self.0);
        while waiting.streams.len() >= MAX_GREETING {
            if let Some((_, oldest)) = waiting.streams.pop_front() {
                // Its thread wakes up and ends. Failure means that the client has closed it already.
                let _ = oldest.shutdown(Shutdown::Both);
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_connection_that_waited_longest_makes_room() {
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
        drop(places);
        assert!(lock(&queue.0).streams.is_empty());
    }
}
