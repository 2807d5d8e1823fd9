//! Where points lie, asked by many handlers and answered together: the index answers a batch several times as fast as its
//! points one by one, and all of a batch see the same polygons.

use std::{future::Future, sync::Arc};

use futures::future::{BoxFuture, FutureExt as _};
use porchlight_domain::{NeighborhoodRef, Point};
use porchlight_neighborhoods::Snapshot;
use tokio::sync::{mpsc, oneshot};

use crate::metrics;

/// The neighborhoods of a point; a sentence while that cannot be told.
pub type Located = Result<Vec<NeighborhoodRef>, String>;

/// Which neighborhoods hold a point now.
pub type Locate = Box<dyn Fn(Point) -> BoxFuture<'static, Located> + Send + Sync>;

/// The most points of a batch; with more, those who ask wait a moment.
const MOST: usize = 1024;

/// Someone who waits for an answer.
struct Asked {
    point: Point,
    answer: oneshot::Sender<Located>,
}

/// Answers in batches: whatever is asked while a batch is answered is the next one, so nobody waits for a batch to fill.
/// `polygons` gives those that count now, or says why there are none to be trusted. The future answers for as long as
/// the [`Locate`] is held.
pub fn in_batches(
    polygons: impl Fn() -> Result<Arc<Snapshot>, String> + Send + 'static,
) -> (Locate, impl Future<Output = ()> + Send) {
    let (ask, mut asked) = mpsc::channel::<Asked>(MOST);
    let answering = async move {
        let mut batch = Vec::with_capacity(MOST);
        while asked.recv_many(&mut batch, MOST).await > 0 {
            metrics::located(batch.len());
            answer(&polygons, batch.drain(..));
        }
    };
    let locate = move |point| {
        let ask = ask.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            let stopping = || "the process is stopping".to_owned();
            ask.send(Asked { point, answer }).await.map_err(|_| stopping())?;
            answered.await.unwrap_or_else(|_| Err(stopping()))
        }
        .boxed()
    };
    (Box::new(locate), answering)
}

fn answer(polygons: &impl Fn() -> Result<Arc<Snapshot>, String>, batch: impl Iterator<Item = Asked>) {
    let (points, answers): (Vec<Point>, Vec<_>) = batch.map(|asked| (asked.point, asked.answer)).unzip();
    // Whoever does not listen any more was aborted, and asks again.
    match polygons() {
        Ok(snapshot) => {
            for (answer, owners) in answers.into_iter().zip(snapshot.locate_batch(&points)) {
                let _ = answer.send(Ok(owners));
            }
        }
        Err(reason) => {
            for answer in answers {
                let _ = answer.send(Err(reason.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use porchlight_domain::{NeighborhoodId, Timestamp, Version};
    use porchlight_neighborhoods::Neighborhoods;
    use porchlight_wire::NeighborhoodRecord;
    use uuid::Uuid;

    use super::*;

    fn at(lon_e7: i32, lat_e7: i32) -> Point {
        Point { lon_e7, lat_e7 }
    }

    /// The squares from 0 to 1000 and from 1000 to 2000.
    fn two() -> Arc<Snapshot> {
        let square = |id: u128, west: i32| {
            let ring = vec![at(west, 0), at(west + 1000, 0), at(west + 1000, 1000), at(west, 1000)];
            Arc::new(NeighborhoodRecord {
                id: NeighborhoodId(Uuid::from_u128(id)),
                name: format!("square {id}"),
                parts: vec![vec![ring]],
                deleted: false,
                version: Version(7),
                updated_at: Timestamp(0),
            })
        };
        let neighborhoods = Neighborhoods::new();
        neighborhoods.apply(&[square(0, 0), square(1, 1000)]);
        neighborhoods.snapshot()
    }

    #[tokio::test]
    async fn who_asks_together_is_answered_together_and_each_gets_the_own_answer() {
        let (batches, polygons) = (Arc::new(AtomicUsize::new(0)), two());
        let counted = batches.clone();
        let (locate, answering) = in_batches(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(polygons.clone())
        });
        let asks = async {
            let locate = locate;
            join_all((0..3000).map(|n| locate(at(n, 500)))).await
        };
        let (answers, ()) = tokio::join!(asks, answering);
        for (n, answer) in answers.into_iter().enumerate() {
            let ids: Vec<u128> = answer.unwrap().iter().map(|owner| owner.id.0.as_u128()).collect();
            let wanted: &[u128] = [&[0][..], &[1], &[]][n / 1000];
            assert_eq!(ids, wanted, "point {n}");
        }
        // A task may do some hundred things at a time, by tokio's budget, and so ask as many questions.
        let batches = batches.load(Ordering::Relaxed);
        assert!(batches < 100, "3000 questions at once are few batches, and were {batches}");
    }

    #[tokio::test]
    async fn one_alone_does_not_wait_for_others_and_a_reason_reaches_everyone() {
        let (locate, answering) = in_batches(|| Err("loading".to_owned()));
        tokio::spawn(answering);
        assert_eq!(locate(at(1, 500)).await, Err("loading".to_owned()));
        let all = join_all([locate(at(1, 500)), locate(at(2, 500))]).await;
        assert!(all.iter().all(|answer| answer == &Err("loading".to_owned())));
    }

    #[tokio::test]
    async fn who_gave_up_keeps_nobody_from_the_answer_and_a_process_that_stops_says_so() {
        let polygons = two();
        let (locate, answering) = in_batches(move || Ok(polygons.clone()));
        let mut abandoned = locate(at(1, 500));
        assert!(futures::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        let answered = {
            let asked = locate(at(2, 500));
            tokio::select! { answer = asked => answer, () = answering => unreachable!("it is held") }
        };
        assert_eq!(answered.unwrap().len(), 1);
        assert!(locate(at(2, 500)).await.unwrap_err().contains("stopping"));
    }
}
