//! Workers outside, for the service `Lifecycles`: tasks as they come, and what is said of them.

use std::sync::Arc;

use futures::stream;
use settled_proto::v1;
use tonic::{Response, Status};

use super::stream::{Answers, until_stopped};
use super::{Api, convert};
use crate::domain::enrollment::TaskId;
use crate::engine::{Asked, Done, Refusal, Task};
use crate::hub::News;

/// Offers that are looked at for one task: others may be faster.
const OFFERS: i64 = 16;

/// Who asks for tasks, and of which queue.
struct Taker {
    queue: String,
    worker: String,
    principal: String,
}

impl Api {
    /// The tasks of a queue, one after the other: what is sent ahead of its worker would lose its lease unread.
    pub(super) fn tasks(&self, queue: String, worker: String, principal: String) -> Answers<v1::Task> {
        let news = self.engine().hub().news();
        let taker = Arc::new(Taker { queue, worker, principal });
        let tasks = stream::unfold((self.clone(), news, None), move |(api, mut news, before)| {
            let taker = Arc::clone(&taker);
            async move {
                let task = api.task_after(before, &taker, &mut news).await;
                let id = task.as_ref().ok().map(|task| task.id);
                let task = task.map(|task| convert::task(&task)).map_err(|r| api.refuse(r));
                Some((task, (api, news, id)))
            }
        });
        until_stopped(tasks, &self.parts)
    }

    /// The next task, once the worker has this one no more.
    async fn task_after(
        &self,
        before: Option<TaskId>,
        taker: &Taker,
        news: &mut News,
    ) -> Result<Task, Refusal> {
        while let Some(id) = before
            && self.engine().has_task(id).await?
        {
            news.wait(self.engine().clock()).await;
        }
        self.next_task(taker, news).await
    }

    async fn next_task(&self, taker: &Taker, news: &mut News) -> Result<Task, Refusal> {
        loop {
            let now = self.engine().clock().now();
            let offers = self.engine().store().read().await?.db().offers(&taker.queue, now, OFFERS).await?;
            for offer in offers {
                let (worker, who) = (taker.worker.clone(), taker.principal.clone());
                if let Some(task) = self.engine().take_task(offer, worker, who).await? {
                    return Ok(task);
                }
            }
            news.wait(self.engine().clock()).await;
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
