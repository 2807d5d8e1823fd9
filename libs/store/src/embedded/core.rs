//! An open store: reads go to threads that may block, writes to the one writer.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc as blocking},
    thread,
    time::Instant,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinError,
};

use super::{
    disk::{Disk, View},
    key::{Key, Table},
    sweep,
    writer::{self, Change, Job},
};
use crate::{
    Read, StoreError,
    metrics::{self, Operation},
};

/// How many reads run at once: so many threads they cost, and no more.
const READERS: usize = 8;

/// An open store. When the last one is dropped, its threads end, and then the folder is free.
pub(crate) struct Core {
    disk: Arc<Disk>,
    jobs: mpsc::Sender<Job>,
    readers: Arc<Semaphore>,
    /// Dropped to end the sweeps.
    _sweeps: blocking::Sender<()>,
}

impl Core {
    /// Starts the writer and the sweeps.
    pub(super) fn start(disk: Disk) -> std::io::Result<Self> {
        let disk = Arc::new(disk);
        let (jobs, waiting) = mpsc::channel(writer::QUEUE);
        let (sweeps, stop) = blocking::channel();
        let (written, swept) = (Arc::clone(&disk), Arc::clone(&disk));
        thread::Builder::new().name("store-writer".into()).spawn(move || writer::run(&written, waiting))?;
        thread::Builder::new().name("store-sweeps".into()).spawn(move || sweep::run(&swept, &stop))?;
        Ok(Self { disk, jobs, readers: Arc::new(Semaphore::new(READERS)), _sweeps: sweeps })
    }

    /// The database itself, for tests that look past the repositories.
    #[cfg(test)]
    pub(super) fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Reads from one moment of the database.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        table: Table,
        read: impl FnOnce(&View<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_as(Read::Quorum, table, read).await
    }

    /// Reads, as fresh as asked for: here the two are one, for what was answered is what is read. Only the metrics differ.
    pub(super) async fn read_as<T: Send + 'static>(
        &self,
        fresh: Read,
        table: Table,
        read: impl FnOnce(&View<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let operation = match fresh {
            Read::Quorum => Operation::Read,
            Read::Serial => Operation::SerialRead,
        };
        observed(operation, table, async {
            let place = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| gone())?;
            let disk = Arc::clone(&self.disk);
            let answer = tokio::task::spawn_blocking(move || {
                let answer = read(&disk.view());
                drop(place);
                answer
            });
            match answer.await.map_err(JoinError::try_into_panic) {
                Ok(answer) => answer,
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                Err(Err(_)) => Err(gone()),
            }
        })
        .await
    }

    /// Decides a plain write.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        table: Table,
        decide: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let decided = self.decided(decide);
        observed(Operation::Write, table, async {
            // Doing it again is doing it once.
            decided.await.map_err(|error| match error {
                StoreError::Unknown(why) => StoreError::Unavailable(why),
                other => other,
            })
        })
        .await
    }

    /// Decides a conditional write.
    pub(super) async fn conditional<T: Send + 'static>(
        &self,
        table: Table,
        decide: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        observed(Operation::ConditionalWrite, table, self.decided(decide)).await
    }

    async fn decided<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Change<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have stopped waiting.
        let job = writer::job(decide, move |outcome| _ = reply.send(outcome));
        self.jobs.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| StoreError::Unknown("the writer of the embedded store is gone".into()))?
    }

    /// Answers if it reads, and takes writes.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        if self.jobs.is_closed() {
            return Err(gone());
        }
        self.disk.is_sound()?;
        self.read(Table::Operators, |view| view.row(&Key::of(Table::Operators)).map(|_| ())).await
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &PathBuf {
        &self.disk.folder
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the embedded store is closed".into())
}

/// Counts a request.
async fn observed<T>(
    operation: Operation,
    table: Table,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let started = Instant::now();
    let answer = request.await;
    metrics::observe(operation, table.name(), started.elapsed());
    answer.map_err(|error| metrics::failed(operation, error))
}
