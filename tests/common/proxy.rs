//! A proxy before a real runner that changes what it says: a device that is hot, or wrong.

use std::io::{BufReader, BufWriter, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use evalkit::device::protocol::frame::{Frame, MAX_FRAME_BYTES, read_frame, write_frame};

/// What is done to every frame that a runner sends.
pub type Change = dyn Fn(&mut Frame) + Send + Sync;

/// Listens, and forwards to `port`; gives its own port.
pub fn start(port: u16, change: Arc<Change>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, change) = (client.unwrap(), Arc::clone(&change));
            let runner = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut up_from, mut up_to) =
                (client.try_clone().unwrap(), runner.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut up_from, &mut up_to);
                let _ = up_to.shutdown(Shutdown::Write);
            });
            std::thread::spawn(move || forward(runner, &client, &*change));
        }
    });
    own
}

fn forward(runner: TcpStream, client: &TcpStream, change: &Change) {
    let mut from = BufReader::new(runner);
    let mut to = BufWriter::new(client);
    while let Ok(Some(mut frame)) = read_frame(&mut from, MAX_FRAME_BYTES) {
        change(&mut frame);
        if write_frame(&mut to, &frame).is_err() || to.flush().is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
