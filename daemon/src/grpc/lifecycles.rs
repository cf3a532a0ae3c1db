//! The service `Lifecycles`: definitions, and who goes through them. What workers do stands in [`super::work`].

use settled_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::asked::{peer, principal};
use super::enrollments::point;
use super::stream::Answers;
use super::{Api, check, convert};
use crate::catalog::DEFINITION_BYTES_MAX;
use crate::domain::lifecycle::{CALLS, Lifecycle};
use crate::engine::{Answer, ApplyLifecycle, Change, Done, Enroll, Refusal, Taker};

/// Longest note of a person, in bytes.
const NOTE_BYTES_MAX: usize = 500;
/// Longest error that a worker tells, in bytes.
const ERROR_BYTES_MAX: usize = 2_000;

impl Api {
    async fn get_lifecycle(&self, code: &str) -> Result<v1::Lifecycle, Refusal> {
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let lifecycle = self.engine().lifecycle(&mut db, code).await?;
        let (source, stages) = self.engine().lifecycle_text(&mut db, &lifecycle).await?;
        let counts = db.enrollment_counts(lifecycle.id).await?;
        let enrollments = counts.into_iter().map(|(word, n)| (word, convert::count(n))).collect();
        Ok(v1::Lifecycle { source, enrollments, ..convert::lifecycle(&lifecycle, stages) })
    }

    async fn list_lifecycles(
        &self,
        m: v1::ListLifecyclesRequest,
    ) -> Result<v1::ListLifecyclesResponse, Refusal> {
        let list = v1::ListLifecyclesRequest::default();
        let page =
            super::pages::Page::new(self.engine(), "Lifecycles.List", &list, m.page_size, &m.page_token)?;
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let mut lifecycles = Vec::new();
        for lifecycle in db.lifecycles(&page.after, page.limit()).await? {
            let (_, stages) = self.engine().lifecycle_text(&mut db, &lifecycle).await?;
            lifecycles.push(convert::lifecycle(&lifecycle, stages));
        }
        let (lifecycles, next_page_token) = page.cut(lifecycles, |l: &v1::Lifecycle| &l.code);
        Ok(v1::ListLifecyclesResponse { lifecycles, next_page_token })
    }

    /// The lifecycle of an answer. Its stages are those of the text that was applied.
    fn lifecycle_of(&self, answer: &Answer, source: &str) -> Result<v1::Lifecycle, Refusal> {
        let row = answer.lifecycle.clone();
        let row = row.ok_or_else(|| Refusal::Internal("the answer has no lifecycle".to_owned()))?;
        let flow = self.engine().check_lifecycle(source).ok();
        let stages = flow.map(|flow| flow.stages.into_iter().map(|stage| stage.name).collect());
        Ok(convert::lifecycle_row(*row, stages.unwrap_or_default())?)
    }

    pub(super) fn enrollment_of(&self, answer: Answer) -> Result<v1::Enrollment, Status> {
        let missing = || Refusal::Internal("the answer has no enrollment".to_owned());
        let row = answer.enrollment.ok_or_else(missing).map_err(|r| self.refuse(r))?;
        convert::enrollment_row(*row).map_err(|e| self.refuse(e))
    }

    async fn changed(
        &self,
        asked: crate::engine::Asked,
        enrollment: String,
        change: Change,
    ) -> Result<Response<v1::Enrollment>, Status> {
        check::subject("enrollment", &enrollment).map_err(|r| self.refuse(r))?;
        let answer = self.engine().change_enrollment(asked, enrollment, change).await;
        self.enrollment_of(answer.map_err(|r| self.refuse(r))?).map(Response::new)
    }
}

/// Codes of lifecycles that may be left out.
pub(super) fn optional_code(lifecycle: &str) -> Result<Option<&str>, Refusal> {
    if lifecycle.is_empty() {
        Ok(None)
    } else {
        check::name("lifecycle", lifecycle).map(|()| Some(lifecycle))
    }
}

/// Why nothing of a lifecycle is worked off now.
pub(super) fn rest_of(
    lifecycle: Option<&Lifecycle>,
    enrollment: &crate::domain::enrollment::Enrollment,
    now: crate::domain::time::Timestamp,
) -> Option<crate::domain::lifecycle::Rest> {
    let due = enrollment.due().unwrap_or(now);
    // What is due later waits for that, whatever its lifecycle is by then.
    lifecycle.filter(|_| due <= now).and_then(|lifecycle| lifecycle.rests(due, now))
}

#[async_trait]
impl v1::lifecycles_server::Lifecycles for Api {
    async fn check(
        &self,
        request: Request<v1::CheckLifecycleRequest>,
    ) -> Result<Response<v1::CheckLifecycleResponse>, Status> {
        let source = request.into_inner().source;
        let problems = self.engine().check_lifecycle(&source).err().unwrap_or_default();
        let problem = |p: crate::catalog::Problem| v1::LifecycleProblem {
            line: p.line,
            field: p.field,
            message: p.message,
        };
        let problems = problems.into_iter().map(problem).collect();
        Ok(Response::new(v1::CheckLifecycleResponse { problems }))
    }

    async fn apply(
        &self,
        request: Request<v1::ApplyLifecycleRequest>,
    ) -> Result<Response<v1::ApplyLifecycleResponse>, Status> {
        let (asked, m) = self.asked("Lifecycles.Apply", request)?;
        if m.source.len() > DEFINITION_BYTES_MAX {
            let message = format!("must have at most {DEFINITION_BYTES_MAX} bytes");
            return Err(self.refuse(Refusal::field("source", message)));
        }
        let ask = ApplyLifecycle {
            source: m.source.clone(),
            mapping: m.mapping,
            secrets: m.secrets,
            dry: m.dry_run,
        };
        let answer = self.engine().apply_lifecycle(asked, ask).await.map_err(|r| self.refuse(r))?;
        let lifecycle = self.lifecycle_of(&answer, &m.source).map_err(|r| self.refuse(r))?;
        let change = answer.ids.into_iter().next().unwrap_or_default();
        Ok(Response::new(v1::ApplyLifecycleResponse { lifecycle: Some(lifecycle), change }))
    }

    async fn get(
        &self,
        request: Request<v1::GetLifecycleRequest>,
    ) -> Result<Response<v1::Lifecycle>, Status> {
        let code = request.into_inner().code;
        check::name("code", &code).map_err(|r| self.refuse(r))?;
        self.get_lifecycle(&code).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn list(
        &self,
        request: Request<v1::ListLifecyclesRequest>,
    ) -> Result<Response<v1::ListLifecyclesResponse>, Status> {
        self.list_lifecycles(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn run(
        &self,
        request: Request<v1::RunLifecycleRequest>,
    ) -> Result<Response<v1::RunLifecycleResponse>, Status> {
        let (asked, m) = self.asked("Lifecycles.Run", request)?;
        if !m.code.is_empty() {
            check::name("code", &m.code).map_err(|r| self.refuse(r))?;
        }
        let answer = self.engine().run_lifecycles(asked, m.code).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(v1::RunLifecycleResponse { codes: answer.ids }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteLifecycleRequest>,
    ) -> Result<Response<v1::DeleteLifecycleResponse>, Status> {
        let (asked, m) = self.asked("Lifecycles.Delete", request)?;
        check::name("code", &m.code).map_err(|r| self.refuse(r))?;
        self.engine().remove_lifecycle(asked, m.code).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(v1::DeleteLifecycleResponse {}))
    }

    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        let (asked, m) = self.asked("Lifecycles.Enroll", request)?;
        check::name("lifecycle", &m.lifecycle).map_err(|r| self.refuse(r))?;
        check::subject("subject", &m.subject).map_err(|r| self.refuse(r))?;
        let at = m.executes_at.as_ref().map(|at| point("executes_at", at)).transpose();
        let ask = Enroll {
            lifecycle: m.lifecycle,
            subject: m.subject,
            payload: m.payload,
            at: at.map_err(|r| self.refuse(r))?,
            again: m.again,
            cancel: m.cancel,
        };
        let mut answer = self.engine().enroll(asked, ask).await.map_err(|r| self.refuse(r))?;
        let change = answer.ids.pop().unwrap_or_default();
        let enrollment = Some(self.enrollment_of(answer)?);
        Ok(Response::new(v1::EnrollResponse { enrollment, change }))
    }

    async fn get_enrollment(
        &self,
        request: Request<v1::GetEnrollmentRequest>,
    ) -> Result<Response<v1::Enrollment>, Status> {
        let m = request.into_inner();
        self.one_enrollment(&m.enrollment).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn list_enrollments(
        &self,
        request: Request<v1::ListEnrollmentsRequest>,
    ) -> Result<Response<v1::ListEnrollmentsResponse>, Status> {
        self.all_enrollments(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn advance_enrollment(
        &self,
        request: Request<v1::AdvanceEnrollmentRequest>,
    ) -> Result<Response<v1::Enrollment>, Status> {
        let (asked, m) = self.asked("Lifecycles.AdvanceEnrollment", request)?;
        self.changed(asked, m.enrollment, Change::Advance).await
    }

    async fn retry_enrollment(
        &self,
        request: Request<v1::RetryEnrollmentRequest>,
    ) -> Result<Response<v1::Enrollment>, Status> {
        let (asked, m) = self.asked("Lifecycles.RetryEnrollment", request)?;
        self.changed(asked, m.enrollment, Change::Retry).await
    }

    async fn reset_enrollment(
        &self,
        request: Request<v1::ResetEnrollmentRequest>,
    ) -> Result<Response<v1::Enrollment>, Status> {
        let (asked, m) = self.asked("Lifecycles.ResetEnrollment", request)?;
        self.changed(asked, m.enrollment, Change::Reset { payload: m.payload, cancel: m.cancel }).await
    }

    async fn decide_enrollment(
        &self,
        request: Request<v1::DecideEnrollmentRequest>,
    ) -> Result<Response<v1::Enrollment>, Status> {
        let (asked, m) = self.asked("Lifecycles.DecideEnrollment", request)?;
        check::words("note", &m.note, NOTE_BYTES_MAX).map_err(|r| self.refuse(r))?;
        self.changed(asked, m.enrollment, Change::Decide { approve: m.approve, note: m.note }).await
    }

    async fn delete_enrollment(
        &self,
        request: Request<v1::DeleteEnrollmentRequest>,
    ) -> Result<Response<v1::DeleteEnrollmentResponse>, Status> {
        let (asked, m) = self.asked("Lifecycles.DeleteEnrollment", request)?;
        self.changed(asked, m.enrollment, Change::Remove { cancel: m.cancel }).await?;
        Ok(Response::new(v1::DeleteEnrollmentResponse {}))
    }

    async fn list_executions(
        &self,
        request: Request<v1::ListExecutionsRequest>,
    ) -> Result<Response<v1::ListExecutionsResponse>, Status> {
        self.all_executions(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn clean(
        &self,
        request: Request<v1::CleanLifecyclesRequest>,
    ) -> Result<Response<v1::CleanLifecyclesResponse>, Status> {
        let (asked, m) = self.asked("Lifecycles.Clean", request)?;
        let cleaning = self.parts.steward.cleaning();
        let gone = if m.dry_run {
            self.engine().plan_cleaning(cleaning).await.map_err(Refusal::from)
        } else {
            self.engine().accept_cleaning(asked, cleaning).await
        };
        let (enrollments, executions) = gone.map_err(|r| self.refuse(r))?;
        Ok(Response::new(v1::CleanLifecyclesResponse { enrollments, executions }))
    }

    type WorkStream = Answers<v1::Task>;

    async fn work(&self, request: Request<v1::WorkRequest>) -> Result<Response<Self::WorkStream>, Status> {
        let (principal, peer) = (principal(&request)?.name.clone(), peer(&request));
        let m = request.into_inner();
        check::name("queue", &m.queue).map_err(|r| self.refuse(r))?;
        if m.queue == CALLS {
            return Err(
                self.refuse(Refusal::field("queue", "is that of webhooks, which settled sends itself"))
            );
        }
        check::name("worker", &m.worker).map_err(|r| self.refuse(r))?;
        Ok(Response::new(self.tasks(Taker { queue: m.queue, worker: m.worker, principal, peer })))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let who = principal(&request)?.name.clone();
        let task = self.task_id(&request.into_inner().task_id)?;
        let lease_until = self.engine().heartbeat(task, who).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(v1::HeartbeatResponse { lease_until: Some(convert::time(lease_until)) }))
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteTaskRequest>,
    ) -> Result<Response<v1::Enrollment>, Status> {
        let (asked, m) = self.asked("Lifecycles.Complete", request)?;
        self.task_ended(asked, &m.task_id, Done::Completed(m.payload)).await
    }

    async fn fail(&self, request: Request<v1::FailTaskRequest>) -> Result<Response<v1::Enrollment>, Status> {
        let (asked, m) = self.asked("Lifecycles.Fail", request)?;
        if m.error.is_empty() || m.error.len() > ERROR_BYTES_MAX {
            let message = format!("must have 1 to {ERROR_BYTES_MAX} bytes");
            return Err(self.refuse(Refusal::field("error", message)));
        }
        self.task_ended(asked, &m.task_id, Done::Failed(m.error)).await
    }

    async fn defer(
        &self,
        request: Request<v1::DeferTaskRequest>,
    ) -> Result<Response<v1::Enrollment>, Status> {
        let (asked, m) = self.asked("Lifecycles.Defer", request)?;
        check::words("why", &m.why, NOTE_BYTES_MAX).map_err(|r| self.refuse(r))?;
        let until = m.until.as_ref().ok_or_else(|| Refusal::field("until", "is missing"));
        let until = until.and_then(|at| point("until", at)).map_err(|r| self.refuse(r))?;
        self.task_ended(asked, &m.task_id, Done::Deferred { until, why: m.why }).await
    }
}
