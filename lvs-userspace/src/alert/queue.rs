//! Messages on disk until they are delivered: one file each, so that a crash loses none and spoils none.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use tracing::warn;

use super::message::Message;

/// So many wait at the most; the oldest makes room for the newest.
const MOST: usize = 1_000;
/// Larger than any message, which has an item for each problem at the most.
const LARGEST: u64 = 16 << 20;

/// A message with the number of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) number: u64,
    pub(super) message: Message,
}

/// The directory of the messages that wait.
#[derive(Debug)]
pub struct Queue {
    directory: PathBuf,
    next: u64,
    /// In order of age.
    numbers: VecDeque<u64>,
}

impl Queue {
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory, next: 1, numbers: VecDeque::new() }
    }

    /// What an earlier agent has left, oldest first. A file that makes no sense is removed.
    pub(super) fn load(&mut self) -> Vec<Stored> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut numbers: Vec<u64> = entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut stored = Vec::new();
        for number in numbers {
            self.next = self.next.max(number + 1);
            match self.read(number) {
                Ok(message) => {
                    self.numbers.push_back(number);
                    stored.push(Stored { number, message });
                }
                Err(reason) => {
                    warn!(path = %self.path(number).display(), "a message that waited is lost: {reason}");
                    self.remove(number);
                }
            }
        }
        stored
    }

    fn read(&self, number: u64) -> Result<Message, String> {
        let file = File::open(self.path(number)).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        if length > LARGEST {
            return Err(format!("it has {length} bytes"));
        }
        let message: Message =
            serde_json::from_reader(io::BufReader::new(file)).map_err(|error| error.to_string())?;
        if message.items.is_empty() { Err("it is empty".to_owned()) } else { Ok(message) }
    }

    /// Keeps a message; the number of an older one that had to go for it. One that cannot be kept is told
    /// all the same, as long as this agent lives.
    pub(super) fn add(&mut self, message: Message) -> (Stored, Option<u64>) {
        let number = self.next;
        self.next += 1;
        if let Err(error) = self.write(number, &message) {
            warn!(directory = %self.directory.display(), %error, "a message would not survive the agent");
        }
        self.numbers.push_back(number);
        let dropped = if self.numbers.len() > MOST { self.numbers.front().copied() } else { None };
        if let Some(oldest) = dropped {
            self.remove(oldest);
        }
        (Stored { number, message }, dropped)
    }

    fn write(&self, number: u64, message: &Message) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let new = self.directory.join("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(message)?)?;
        file.sync_all()?;
        fs::rename(&new, self.path(number))
    }

    /// It is delivered, or given up.
    pub(super) fn remove(&mut self, number: u64) {
        self.numbers.retain(|waiting| *waiting != number);
        let path = self.path(number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path = %path.display(), %error, "a delivered message may be delivered again");
            }
            _ => {}
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:012}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::message::Kind;
    use crate::alert::message::tests::{item, message};

    #[test]
    fn messages_survive_and_the_oldest_make_room() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("alerts");
        let mut queue = Queue::new(place.clone());
        assert_eq!(queue.load(), []);
        for number in 0..MOST + 2 {
            let text = message(Kind::Alert, vec![item(&number.to_string(), 1, "down")]);
            let (stored, dropped) = queue.add(text);
            assert_eq!(stored.number, number as u64 + 1);
            assert_eq!(dropped, (number + 1).checked_sub(MOST).filter(|n| *n > 0).map(|n| n as u64));
        }
        fs::write(place.join("000000000007.json"), "{").unwrap();
        fs::write(place.join("new"), "half a mess").unwrap();
        let mut next = Queue::new(place);
        let numbers: Vec<_> = next.load().iter().map(|stored| stored.number).collect();
        let expected: Vec<_> = (3..=MOST as u64 + 2).filter(|number| *number != 7).collect();
        assert_eq!(numbers, expected);
        next.remove(3);
        let (stored, _) = next.add(message(Kind::Up, vec![item("www", 1, "up")]));
        assert_eq!(stored.number, MOST as u64 + 3);
    }
}
