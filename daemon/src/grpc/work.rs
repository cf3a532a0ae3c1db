//! Workers outside, for the service `Lifecycles`: tasks as they come, and what is said of them.

use std::future::pending;
use std::sync::Arc;

use futures::stream;
use settled_proto::v1;
use tonic::{Response, Status};

use super::reason::Reason;
use super::stream::{Answers, driven, until_stopped};
use super::{Api, convert, status};
use crate::auth::{Scope, Standing, Verb};
use crate::domain::enrollment::TaskId;
use crate::engine::{Asked, Done, Refusal, Taker, Task};
use crate::hub::News;
use crate::store::enrollments::Seen;

/// Offers that are looked at for one task: others may be faster.
const OFFERS: i64 = 16;

/// A task that was taken, on its way to its worker. If it does not get there it goes back, and no attempt is used.
struct Taken {
    api: Api,
    taker: Arc<Taker>,
    task: Option<Task>,
}

impl Taken {
    /// The worker has it.
    fn handed_over(mut self) -> Option<Task> {
        self.task.take()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let (api, taker) = (self.api.clone(), Arc::clone(&self.taker));
            self.api.errands.spawn(async move { api.give_back(task.id, &taker).await });
        }
    }
}

impl Api {
    /// The tasks of a queue, one after the other: what is sent ahead of its worker would lose its lease unread.
    pub(super) fn tasks(&self, taker: Taker) -> Answers<v1::Task> {
        let (news, taker) = (self.engine().hub().news(), Arc::new(taker));
        let tasks = stream::unfold((self.clone(), news, None), move |(api, mut news, before)| {
            let taker = Arc::clone(&taker);
            async move {
                let task = api.task_after(before, &taker, &mut news).await;
                let task = task.map(Taken::handed_over).transpose()?;
                let id = task.as_ref().ok().map(|task| task.id);
                let task = task.map(|task| convert::task(&task));
                Some((task, (api, news, id)))
            }
        });
        // Before each task its worker is asked what it may.
        until_stopped(tasks, &self.parts, pending())
    }

    /// The next task, once the worker has this one no more.
    async fn task_after(
        &self,
        before: Option<TaskId>,
        taker: &Arc<Taker>,
        news: &mut News,
    ) -> Result<Taken, Status> {
        while let Some(id) = before {
            let engine = self.engine().clone();
            let has = driven(async move { engine.has_task(id).await }).await;
            if !has.map_err(|error| self.refuse(error))?.map_err(|error| self.refuse(error))? {
                break;
            }
            news.wait(self.engine().clock()).await;
        }
        loop {
            if let Some(task) = self.next_task(taker).await? {
                return Ok(task);
            }
            news.wait(self.engine().clock()).await;
        }
    }

    /// What is offered now to a worker who may have it.
    async fn offers(self, taker: Arc<Taker>) -> Result<Vec<Seen>, Status> {
        let now = self.engine().clock().now();
        let mut reader = self.engine().store().read().await.map_err(|error| self.refuse(error))?;
        let offers = reader.db().offers(&taker.queue, now, OFFERS).await;
        drop(reader);
        let offers = offers.map_err(|error| self.refuse(error))?;
        if !offers.is_empty() {
            self.still_works(&taker).await?;
        }
        Ok(offers)
    }

    async fn next_task(&self, taker: &Arc<Taker>) -> Result<Option<Taken>, Status> {
        let offers = driven(self.clone().offers(Arc::clone(taker))).await;
        for offer in offers.map_err(|error| self.refuse(error))?? {
            // Whoever reads may go at any moment, also while the store takes note: that is done whether or not anybody waits for it.
            let errand = self.errands.spawn(self.clone().take(offer, Arc::clone(taker)));
            let found = errand.await.map_err(|error| self.refuse(Refusal::Internal(error.to_string())))?;
            if let Some(task) = found.map_err(|refusal| self.refuse(refusal))? {
                return Ok(Some(task));
            }
        }
        Ok(None)
    }

    /// A stream may be older than what its principal may do now: a task that it may not complete would only use up its attempts.
    async fn still_works(&self, taker: &Taker) -> Result<(), Status> {
        match self.parts.gate.standing(&taker.principal, Verb::Operate).await {
            Standing::May(Scope::Whole) => Ok(()),
            Standing::May(Scope::Of(_)) | Standing::MayNot => Err(Reason::NotAllowed.status(format!(
                "{} may not have work done on all servers any more, so it gets no tasks: whoever runs this settled gives roles",
                taker.principal
            ))),
            Standing::Unknown(unclear) => Err(status::unclear(&unclear)),
        }
    }

    /// Takes a task, unless others were faster.
    async fn take(self, offer: Seen, taker: Arc<Taker>) -> Result<Option<Taken>, Refusal> {
        let task = self.engine().take_task(offer, Taker::clone(&taker)).await?;
        Ok(task.map(|task| Taken { api: self, taker, task: Some(task) }))
    }

    async fn give_back(&self, task: TaskId, taker: &Taker) {
        if let Err(error) = self.engine().give_back_task(task, taker).await {
            tracing::warn!(
                %task, worker = taker.worker, %error, "a task that did not reach its worker could not be given back; it comes again after its lease"
            );
        }
    }

    pub(super) fn task_id(&self, text: &str) -> Result<TaskId, Status> {
        let wrong = |_| Refusal::field("task_id", "is not the id of a task: send it as Work gave it");
        text.parse().map_err(wrong).map_err(|r| self.refuse(r))
    }

    pub(super) async fn task_ended(
        &self,
        asked: Asked,
        task: &str,
        done: Done,
    ) -> Result<Response<v1::Enrollment>, Status> {
        let task = self.task_id(task)?;
        let answer = self.engine().end_task(asked, task, done).await.map_err(|r| self.refuse(r))?;
        self.enrollment_of(answer).map(Response::new)
    }
}
