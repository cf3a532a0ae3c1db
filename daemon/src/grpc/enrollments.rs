//! Reading enrollments and their log, for the service `Lifecycles`.

use prost_types::Timestamp as WireTime;
use settled_proto::v1;

use super::lifecycles::{optional_code, rest_of};
use super::pages::Page;
use super::{Api, check, convert};
use crate::domain::enrollment::Enrollment;
use crate::domain::id::EnrollmentId;
use crate::domain::lifecycle::{Lifecycle, Subjects};
use crate::domain::time::Timestamp;
use crate::engine::Refusal;
use crate::store::lifecycles::{EnrollmentFilter, ExecutionFilter};
use crate::store::{Db, StoreError};

/// A point in time of a request.
pub(super) fn point(field: &str, at: &WireTime) -> Result<Timestamp, Refusal> {
    let wrong = || Refusal::field(field, "is no point in time");
    let nanos = u32::try_from(at.nanos).ok().filter(|nanos| *nanos < 1_000_000_000).ok_or_else(wrong)?;
    let micros = at.seconds.checked_mul(1_000_000).and_then(|us| us.checked_add(i64::from(nanos / 1_000)));
    micros.map(Timestamp).ok_or_else(wrong)
}

impl Api {
    /// One enrollment, and what it waits for now.
    pub(super) async fn one_enrollment(&self, named: &str) -> Result<v1::Enrollment, Refusal> {
        check::subject("enrollment", named)?;
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let enrollment = self.engine().find_enrollment(&mut db, named).await?;
        let lifecycle = db.lifecycle(enrollment.lifecycle).await?;
        let now = self.engine().clock().now();
        Ok(convert::enrollment(&enrollment, rest_of(lifecycle.as_ref(), &enrollment, now)))
    }

    async fn filtered_by(&self, db: &mut Db<'_>, code: &str) -> Result<Option<Lifecycle>, Refusal> {
        match optional_code(code)? {
            Some(code) => self.engine().lifecycle(db, code).await.map(Some),
            None => Ok(None),
        }
    }

    /// A page of enrollments.
    pub(super) async fn all_enrollments(
        &self,
        m: v1::ListEnrollmentsRequest,
    ) -> Result<v1::ListEnrollmentsResponse, Refusal> {
        let status: v1::EnrollmentStatus = check::word("status", m.status)?;
        let list = v1::ListEnrollmentsRequest { page_size: 0, page_token: String::new(), ..m.clone() };
        let page = Page::new(self.engine(), "Lifecycles.ListEnrollments", &list, m.page_size, &m.page_token)?;
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let lifecycle = self.filtered_by(&mut db, &m.lifecycle).await?.map(|lifecycle| lifecycle.id);
        let due_before = m.due_before.as_ref().map(|at| point("due_before", at)).transpose()?;
        let rows = if let Some(before) = due_before {
            if !m.subject.is_empty() || status != v1::EnrollmentStatus::Unspecified {
                return Err(Refusal::field("due_before", "goes with `lifecycle` only"));
            }
            let (due, id) = place(&page.after);
            db.enrollments_due(lifecycle, before, (due, id), page.limit()).await?
        } else {
            let filter = EnrollmentFilter {
                lifecycle,
                subject: subject(&m.subject)?,
                status: convert::enrollment_status_of(status).map(|word| word.to_string()),
            };
            db.enrollments(&filter, &page.after, page.limit()).await?
        };
        let mut found = Vec::with_capacity(rows.len());
        let now = self.engine().clock().now();
        let mut lifecycles: Vec<Lifecycle> = Vec::new();
        for row in rows {
            let key = if due_before.is_some() {
                format!("{}:{}", row.due.unwrap_or(0), row.id)
            } else {
                row.id.clone()
            };
            let enrollment: Enrollment = row.try_into()?;
            if !lifecycles.iter().any(|lifecycle| lifecycle.id == enrollment.lifecycle) {
                lifecycles.extend(db.lifecycle(enrollment.lifecycle).await?);
            }
            let lifecycle = lifecycles.iter().find(|lifecycle| lifecycle.id == enrollment.lifecycle);
            found.push((key, convert::enrollment(&enrollment, rest_of(lifecycle, &enrollment, now))));
        }
        let (enrollments, next_page_token) = page.cut_keyed(found);
        Ok(v1::ListEnrollmentsResponse { enrollments, next_page_token })
    }

    /// A page of the log.
    pub(super) async fn all_executions(
        &self,
        m: v1::ListExecutionsRequest,
    ) -> Result<v1::ListExecutionsResponse, Refusal> {
        let outcome: v1::ExecutionOutcome = check::word("outcome", m.outcome)?;
        let list = v1::ListExecutionsRequest { page_size: 0, page_token: String::new(), ..m.clone() };
        let page = Page::new(self.engine(), "Lifecycles.ListExecutions", &list, m.page_size, &m.page_token)?;
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let lifecycle = self.filtered_by(&mut db, &m.lifecycle).await?;
        if !m.stage.is_empty() {
            check::name("stage", &m.stage)?;
        }
        // One that is gone is known by its id alone.
        let enrollment = match m.enrollment.parse::<EnrollmentId>() {
            Ok(id) => Some(id.to_string()),
            Err(_) if m.enrollment.is_empty() => None,
            Err(_) => Some(self.engine().find_enrollment(&mut db, &m.enrollment).await?.id.to_string()),
        };
        let filter = ExecutionFilter {
            enrollment,
            lifecycle: lifecycle.map(|lifecycle| lifecycle.id.to_string()),
            stage: (!m.stage.is_empty()).then_some(m.stage),
            outcome: convert::execution_outcome_of(outcome).map(|word| word.to_string()),
            since: m.since.as_ref().map(|at| point("since", at)).transpose()?.map(|at| at.0),
            until: m.until.as_ref().map(|at| point("until", at)).transpose()?.map(|at| at.0),
        };
        let rows = db.executions(&filter, before(&page.after), page.limit()).await?;
        let found = rows.iter().map(|row| Ok((format!("{}:{}", row.at, row.seq), convert::execution(row)?)));
        let (executions, next_page_token) = page.cut_keyed(found.collect::<Result<_, StoreError>>()?);
        Ok(v1::ListExecutionsResponse { executions, next_page_token })
    }
}

/// The place after which a page of what is due goes on.
fn place(after: &str) -> (i64, &str) {
    after.split_once(':').map_or((i64::MIN, ""), |(due, id)| (due.parse().unwrap_or(i64::MIN), id))
}

/// The place, a time and a number, after which a page of a log goes on.
pub(super) fn before(after: &str) -> Option<(i64, i64)> {
    let (at, seq) = after.split_once(':')?;
    Some((at.parse().ok()?, seq.parse().ok()?))
}

/// Type and id of a subject, as they are stored: whoever lists names the type itself, not an alias of it.
fn subject(named: &str) -> Result<Option<(String, String)>, Refusal> {
    if named.is_empty() {
        return Ok(None);
    }
    let taken = Subjects::default().take(named);
    taken.map(Some).map_err(|bad| Refusal::field("subject", bad.to_string()))
}
