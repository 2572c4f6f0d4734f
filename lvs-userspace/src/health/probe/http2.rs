//! An executor for hyper's HTTP/2: what it would spawn is driven by the probe itself, and ends with it.

use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;
use tokio::sync::mpsc;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Hands work over to [`drive`].
#[derive(Clone)]
pub(super) struct Crew {
    hire: mpsc::UnboundedSender<Work>,
}

/// The executor, and what must be polled beside the exchange.
pub(super) fn crew() -> (Crew, impl Future<Output = ()> + Send) {
    let (hire, hired) = mpsc::unbounded_channel();
    (Crew { hire }, drive(hired))
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Crew {
    fn execute(&self, work: F) {
        // Nobody drives it any more when the probe is over.
        self.hire.send(Box::pin(work)).ok();
    }
}

async fn drive(mut hired: mpsc::UnboundedReceiver<Work>) {
    let mut working = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(work) = hired.recv() => working.push(work),
            Some(()) = working.next(), if !working.is_empty() => {}
            else => return,
        }
    }
}
