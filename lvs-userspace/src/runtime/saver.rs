//! Has what must survive the agent written, and nobody wait for the disk but those who want to.
//!
//! One write at a time. What is wanted meanwhile waits for its end, and only the newest of it is written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, info};

/// Until what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// A write that takes longer is told of.
const LONG: Duration = Duration::from_secs(3);

/// Dropped, it ends when the newest has been written.
#[derive(Debug)]
pub(super) struct Saver<T> {
    wanted: watch::Sender<Wanted<T>>,
    ended: watch::Receiver<Ended>,
}

/// The newest, and how many there were.
#[derive(Debug)]
struct Wanted<T> {
    number: u64,
    newest: Option<Arc<T>>,
}

/// The latest write that has ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    number: u64,
    is_written: bool,
}

impl<T: Send + Sync + 'static> Saver<T> {
    /// Within a tokio runtime. `write` may block; `directory` is where it writes, for people.
    pub(super) fn start(
        directory: PathBuf,
        write: impl Fn(&T) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let (wanted, wants) = watch::channel(Wanted { number: 0, newest: None });
        // Nothing was wanted, and so everything has been written.
        let (tells, ended) = watch::channel(Ended { number: 0, is_written: true });
        tokio::spawn(run(directory, Arc::new(write), wants, tells));
        Self { wanted, ended }
    }

    /// Has this written, instead of what waits.
    pub(super) fn save(&self, newest: T) {
        self.wanted.send_modify(|wanted| {
            wanted.number += 1;
            wanted.newest = Some(Arc::new(newest));
        });
    }

    /// Until a write has ended of what was wanted last, or of something newer; whether it is on disk.
    pub(super) fn saved(&self) -> impl Future<Output = bool> + Send + use<T> {
        let (number, mut ended) = (self.wanted.borrow().number, self.ended.clone());
        async move {
            let ended = ended.wait_for(|ended| ended.number >= number).await;
            ended.is_ok_and(|ended| ended.is_written)
        }
    }
}

/// For as long as anybody may want something.
async fn run<T: Send + Sync + 'static>(
    directory: PathBuf,
    write: Arc<impl Fn(&T) -> io::Result<()> + Send + Sync + 'static>,
    mut wants: watch::Receiver<Wanted<T>>,
    tells: watch::Sender<Ended>,
) {
    let directory = directory.display();
    // What was said of it.
    let mut trouble: Option<String> = None;
    loop {
        let limit = if trouble.is_some() { AGAIN } else { Duration::MAX };
        if let Ok(Err(_)) = timeout(limit, wants.changed()).await {
            return;
        }
        let (number, newest) = {
            let wanted = wants.borrow_and_update();
            (wanted.number, wanted.newest.clone())
        };
        let Some(newest) = newest else { continue };
        let write = Arc::clone(&write);
        let mut writing = spawn_blocking(move || write(&newest));
        let in_time = timeout(LONG, &mut writing).await;
        let was_long = in_time.is_err();
        if was_long {
            error!(%directory, "the disk does not answer: verdicts and maintenance would not survive the agent");
        }
        let written = match in_time {
            Ok(written) => written,
            Err(_) => writing.await,
        };
        let written = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        match &written {
            Ok(()) if was_long || trouble.is_some() => {
                info!(%directory, "verdicts and maintenance are on disk again");
                trouble = None;
            }
            Ok(()) => {}
            Err(reason) => {
                let reason = reason.to_string();
                if trouble.as_ref() != Some(&reason) {
                    error!(%directory, reason, "verdicts and maintenance would not survive the agent");
                }
                trouble = Some(reason);
            }
        }
        tells.send_replace(Ended { number, is_written: written.is_ok() });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// A disk that answers when it is told to, and how; and what has been written to it.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<Vec<u32>>>);

    impl Disk {
        fn written(&self) -> Vec<u32> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        /// `begun` hears of each write at its beginning.
        fn saver(&self) -> (Saver<u32>, Receiver<u32>, Sender<io::Result<()>>) {
            let ((begins, begun), (answer, answers)) = (channel(), channel::<io::Result<()>>());
            let (written, answers) = (Arc::clone(&self.0), Mutex::new(answers));
            let write = move |number: &u32| {
                begins.send(*number).unwrap();
                answers.lock().unwrap().recv().unwrap()?;
                written.lock().unwrap().push(*number);
                Ok(())
            };
            (Saver::start(PathBuf::from("/var/lib/lvs"), write), begun, answer)
        }
    }

    /// Without holding up the runtime, which has one thread.
    async fn next(begun: Receiver<u32>) -> (u32, Receiver<u32>) {
        spawn_blocking(move || (begun.recv().unwrap(), begun)).await.unwrap()
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_nobody_and_gets_the_newest() {
        let disk = Disk::default();
        let (saver, begun, answer) = disk.saver();
        assert!(saver.saved().await, "nothing is to be saved");
        saver.save(1);
        let (first, begun) = next(begun).await;
        let mut saved = Box::pin(saver.saved());
        (2..=9).for_each(|number| saver.save(number));
        let all = tokio::spawn(saver.saved());
        // The thread of the runtime goes on, and nothing else is begun.
        assert!(timeout(Duration::from_millis(50), &mut saved).await.is_err(), "it cannot be on disk");
        assert_eq!((first, begun.try_recv().ok(), disk.written()), (1, None, vec![]));
        answer.send(Ok(())).unwrap();
        assert!(saved.await);
        assert!(!all.is_finished());
        answer.send(Ok(())).unwrap();
        assert!(all.await.unwrap());
        assert_eq!(disk.written(), [1, 9]);
        // The end waits for the newest.
        saver.save(10);
        answer.send(Ok(())).unwrap();
        let last = saver.saved();
        drop(saver);
        assert!(last.await);
        assert_eq!(disk.written(), [1, 9, 10]);
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_told_and_tried_again() {
        let disk = Disk::default();
        let (saver, begun, answer) = disk.saver();
        saver.save(1);
        answer.send(Err(io::Error::other("it is full"))).unwrap();
        assert!(!saver.saved().await);
        let (_, begun) = next(begun).await;
        // By itself, and nobody wants anything new.
        answer.send(Ok(())).unwrap();
        let (again, _begun) = next(begun).await;
        assert_eq!(again, 1);
        saver.save(2);
        answer.send(Ok(())).unwrap();
        assert!(saver.saved().await);
        assert_eq!(disk.written(), [1, 2]);
    }
}
